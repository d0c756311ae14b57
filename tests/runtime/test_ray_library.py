"""Ray is imported after the setting that keeps a private one to the loopback interface."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
MODULES = sorted(Path("score_ray/runtime").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_ray_is_imported_at_one_place_or_within_functions(path):
    lines = path.read_text().splitlines()
    imports = [line for line in lines if line.startswith(("import ray", "from ray"))]
    assert bool(imports) == (path.stem == "ray_library")


@pytest.mark.slow
@pytest.mark.parametrize(("address", "clusters"), [("", "False"), ("10.0.0.1:6379", "True")])
def test_only_a_run_that_joins_a_cluster_uses_other_interfaces_than_loopback(address, clusters):
    code = (
        "import score_ray.training.roles\n"
        "from ray._private.ray_constants import ENABLE_RAY_CLUSTER\n"
        "print(ENABLE_RAY_CLUSTER)"
    )
    env = {name: value for name, value in os.environ.items() if name != SWITCH}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env | {"RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == clusters
