"""The rooms of score_ray: imports point down, and heavy libraries stay in their own rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path("score_ray")
# From the top down: a room imports from itself and from the rooms after it.
ROOMS = [
    "cli", "bench", "experiments", "training", "runtime", "rollout", "planning", "learner",
    "reporting", "tasks", "weights", "algorithm", "config",
]  # fmt: skip
HOMES = {
    "vllm": ("rollout/", "weights/"),
    "deepspeed": ("learner/", "weights/"),
    "peft": ("learner/", "bench/trl_baseline.py"),
    "trl": ("bench/trl_baseline.py",),
    "ray": ("runtime/",),
}
MOST_FILES = 22  # of one folder
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def imported(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    plain = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    from_ = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module == "score_ray"
            from_ += [f"score_ray.{a.name}" for a in node.names] if whole else [node.module]
    return plain + from_


def room_of(name: str) -> str:
    """The room that a dotted module name lies in; "" for what lies in none."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).parts[0]
    below = ROOMS[ROOMS.index(own) :] if own in ROOMS else []
    for name in imported(path):
        if name.startswith("score_ray.") and own != "__main__.py":
            assert name == "score_ray.types" or room_of(name) in below, f"{own} imports {name}"


def test_the_package_has_these_rooms_and_no_others():
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(ROOMS)
    assert {p.name for p in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "types.py"}


def test_no_folder_holds_more_than_a_reader_can_take_in():
    folders = [PACKAGE, *(p for p in PACKAGE.rglob("*") if p.is_dir())]
    assert max(len(list(folder.glob("*.py"))) for folder in folders) <= MOST_FILES


def test_no_class_name_is_used_twice():
    names = [
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_heavy_libraries_are_imported_only_at_home(path):
    place = path.relative_to(PACKAGE).as_posix()
    for name in imported(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or place.startswith(homes), f"{place} imports {name}"


def test_every_init_is_empty():
    assert all(not p.read_text() for p in PACKAGE.rglob("__init__.py"))


def test_no_file_is_named_after_nothing_in_particular():
    vague = {"utils", "util", "helpers", "common", "misc", "base", "manager", "handler"}
    assert not [p for p in MODULES if p.stem in vague]


def test_mathematics_and_trainer_import_without_ray_vllm_deepspeed_and_transformers():
    code = (
        "import sys\n"
        "for name in ('ray', 'vllm', 'deepspeed', 'transformers'): sys.modules[name] = None\n"
        "import score_ray.algorithm.objective, score_ray.algorithm.loss\n"
        "import score_ray.algorithm.batch, score_ray.algorithm.metrics\n"
        "import score_ray.rollout.episodes, score_ray.training.trainer, score_ray.weights.probe\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_algorithm_imports_with_torch_alone():
    code = (
        "import importlib, pathlib, sys\n"
        "for name in ('ray', 'vllm', 'deepspeed', 'transformers', 'pydantic', 'rapidfuzz'):\n"
        "    sys.modules[name] = None\n"
        "for path in pathlib.Path('score_ray/algorithm').glob('*.py'):\n"
        "    importlib.import_module(f'score_ray.algorithm.{path.stem}')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_process_can_set_its_environment_before_it_imports_torch():
    # What Ray imports in a process to start an actor: the classes, and the types of arguments.
    code = (
        "import sys\n"
        "import score_ray.runtime.actors, score_ray.rollout.setup, score_ray.rollout.prompter\n"
        "import score_ray.learner.setup\n"
        "assert not {'torch', 'transformers', 'vllm', 'deepspeed'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
