"""Help and errors appear at once: they import nothing that a run alone needs."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch", "ray", "transformers", "vllm", "deepspeed", "datasets", "peft", "accelerate",
    "numpy", "pandas", "pyarrow", "matplotlib", "scipy", "sympy", "math_verify",
    "huggingface_hub", "jinja2", "psutil",
}  # fmt: skip
# Runs command lines in turn, and prints the modules imported by then.
SCRIPT = """
import json, sys
from score_ray.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv[:] = ["score-ray", *words]
    try:
        main.main()
    except SystemExit as end:
        if end.code and isinstance(end.code, str):
            print(end.code, file=sys.stderr)
print(json.dumps([*sys.modules]))
"""
COMMANDS = (
    "train", "eval", "export", "report", "grade", "figures", "reproduce", "plan", "doctor",
    "submit", "job", "job logs", "job status", "job stop", "job list", "bench",
    "bench iteration", "bench gpu", "bench scale",
)  # fmt: skip
UNKNOWN = "error: {}: unknown key; did you mean {}?\n"
ERRORS = {
    "train configs/arithmetic.yaml rollout.num_actor=2": UNKNOWN.format(
        "rollout.num_actor", "rollout.num_actors"
    ),
    "train nowhere.yaml": "error: nowhere.yaml: no such config file\n",
    "eval nowhere": "error: nowhere/config.yaml: no such config file\n",
    "export nowhere out": "error: nowhere/config.yaml: no such config file\n",
    "report nowhere": "error: nowhere: no such run folder\n",
    "grade configs/arithmetic.yaml seeds=2": UNKNOWN.format("seeds", "seed"),
    "figures nowhere": "error: nowhere: not a run folder: it has no config.yaml\n",
    "reproduce nowhere.yaml": "error: nowhere.yaml: no such suite file\n",
    "plan configs/arithmetic.yaml seeds=2": UNKNOWN.format("seeds", "seed"),
    "submit configs/arithmetic.yaml seeds=2": UNKNOWN.format("seeds", "seed"),
    "job list --address here": "error: --address here: not of the form http://host:8265\n",
    "bench configs/arithmetic.yaml seeds=2": UNKNOWN.format("seeds", "seed"),
    "bench scale configs/arithmetic.yaml seeds=2": UNKNOWN.format("seeds", "seed"),
}


def run(*lines: str) -> tuple[set[str], str]:
    """Return the modules that a process has imported after these command lines, and its stderr."""
    words = json.dumps([line.split() for line in lines])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, words], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1])), done.stderr


def test_help_of_every_command_imports_the_command_line_alone():
    modules, _ = run("--help", *(f"{command} --help" for command in COMMANDS))
    ours = {name for name in modules if name.startswith("score_ray.")} - {"score_ray.types"}
    assert [name for name in ours if not name.startswith("score_ray.cli")] == []
    assert not HEAVY & modules


@pytest.mark.parametrize("line", ERRORS)
def test_a_mistake_in_a_command_is_one_clear_error_at_once(line):
    modules, errors = run(line)
    assert errors == ERRORS[line]
    assert not HEAVY & modules


def test_an_unknown_command_is_named_at_once():
    modules, errors = run("trian configs/arithmetic.yaml")
    assert "No such command 'trian'" in errors
    assert not HEAVY & modules


def test_a_wrong_override_of_the_bench_of_gpus_is_named_at_once():
    modules, errors = run("bench --gpu seeds=2")
    assert errors == UNKNOWN.format("seeds", "seed")
    assert not HEAVY & modules
