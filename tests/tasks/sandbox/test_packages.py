import pytest

from score_ray.tasks.sandbox.packages import FOLDER, missing_import, package_files
from score_ray.tasks.sandbox.visible_files import visible_files


def places(*names: str) -> set[str]:
    return set(package_files(names).values())


def test_a_package_is_shown_with_its_libraries_and_nothing_else():
    found = places("numpy")
    assert f"{FOLDER}/numpy" in found
    assert all(place.split("/")[2].startswith("numpy") for place in found)


def test_a_package_is_shown_with_all_that_it_requires():
    assert {f"{FOLDER}/scipy", f"{FOLDER}/numpy"} <= places("scipy")
    assert f"{FOLDER}/torch" not in places("scipy")


def test_a_package_can_be_named_by_its_module():
    assert places("yaml") == places("PyYAML")
    assert f"{FOLDER}/yaml" in places("yaml")


@pytest.mark.parametrize("name", ["no_such_package", "../numpy", "", "numpy.linalg.nothing"])
def test_a_package_that_is_not_installed_is_named(name):
    with pytest.raises(ValueError, match=rf"task\.packages: {name!r} is not installed"):
        package_files((name,))


def test_a_sandbox_without_packages_shows_none():
    assert package_files(()) == {}
    assert not any(place.startswith(FOLDER) for place in visible_files(())["shown"].values())
    assert f"{FOLDER}/numpy" in visible_files(("numpy",))["shown"].values()


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("import math, os.path\nfrom collections import *", ""),
        ("import numpy as np", "numpy"),
        ("import math, numpy.linalg", "numpy.linalg"),
        ("from scipy.stats import norm", "scipy.stats"),
        ("from . import x", "."),
        ("def f():\n    if 1:\n        import torch", "torch"),
        ("try:\n    import numpy\nexcept ImportError:\n    import torch", "torch"),
        ("try:\n    import numpy\nexcept ImportError:\n    pass", ""),
        ("try:\n    import numpy\nfinally:\n    pass", "numpy"),
    ],
)
def test_the_first_import_that_a_sandbox_lacks_is_found(source, missing):
    assert missing_import(source, ()) == missing


def test_the_packages_that_a_task_names_can_be_imported():
    assert missing_import("import numpy, numpy.linalg, math", ("numpy",)) == ""
    assert missing_import("import numpy\nimport yaml", ("numpy",)) == "yaml"
