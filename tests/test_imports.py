"""The layer rule: imports point down, and heavy libraries stay in their own files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path("score_ray")
LAYERS = [
    ["types", "options", "overrides", "sections", "config"],
    ["prompts", "objective", "batch", "loss", "checkpoint", "records", "alarms"],
    ["tasks"],
    ["rollout", "verify", "judge", "evaluate", "offline", "report", "plot", "models", "scaling"],
    ["targets", "shape", "gpus", "attention", "idle", "yardstick"],
    ["comparison", "suite", "figure_data", "figure_parts", "figures", "suite_tables"],
    ["kl_control", "selection", "page", "inputs", "solutions", "doctor", "jobs", "scaling_plot"],
    ["memory", "shortage", "expected_time", "optimiser", "scorer"],
    ["weights"],
    ["lora"],
    ["sampler", "learner"],
    ["placement"],
    ["iteration", "collect", "lesson", "loop"],
    ["roles"],
    ["arguments", "bench", "study", "machine", "reproduce", "suite_report", "job_commands"],
    [
        "bench_scale",
        "bench_models",
        "bench_trl",
        "bench_gpu",
        "bench_commands",
        "figure_commands",
        "suite_commands",
        "plan_command",
    ],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HOMES = {
    "vllm": ("sampler.py", "weights/"),
    "deepspeed": ("learner.py", "weights/"),
    "peft": ("lora.py", "bench_trl.py"),
    "trl": ("bench_trl.py",),
    "ray": ("placement/", "jobs.py"),
}
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


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported(path):
        if name.startswith("score_ray."):
            other = name.split(".")[1]
            assert other == own or LEVEL[other] <= LEVEL[own], f"{own} imports {other}"


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


def test_mathematics_and_loop_import_without_ray_vllm_deepspeed_and_transformers():
    code = (
        "import sys\n"
        "for name in ('ray', 'vllm', 'deepspeed', 'transformers'): sys.modules[name] = None\n"
        "import score_ray.objective, score_ray.loss, score_ray.batch, score_ray.evaluate\n"
        "import score_ray.rollout, score_ray.loop, score_ray.weights.probe\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
