"""Checkpoints that are whole or not there: written aside, checksummed, renamed."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from score_ray.types import Lost, RunError

MANIFEST, STATE = "manifest.json", "state.json"


class CheckpointError(RunError):
    """A checkpoint could not be written, or none that was written can be read."""


def save(
    folder: Path, iteration: int, write: Callable[[Path], None], state: dict, keep: int
) -> Path:
    """Save what `write` puts into a folder, and `state`; keep the newest `keep` checkpoints.

    Nothing is visible under the final name before everything is on disk. Raises
    CheckpointError if it cannot be written, on a full disk for instance; those before it stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover)
    target = folder / f"iteration_{iteration:06d}"
    # A run resumes from its newest whole checkpoint: any from here on are damaged.
    for later in folder.glob("iteration_*"):
        if later.name >= target.name:
            shutil.rmtree(later)
    unfinished = folder / f".tmp-{target.name}"
    try:
        _write(unfinished, write, state)
    except (OSError, RuntimeError) as error:
        free = shutil.disk_usage(folder).free / 2**20
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, Lost):
            raise
        raise CheckpointError(_unwritten(target, error, free)) from error
    os.rename(unfinished, target)
    _fsync(folder)
    for old in sorted(folder.glob("iteration_*"))[:-keep]:
        shutil.rmtree(old)
    return target


def newest(folder: Path, tell: Callable[[str], None] = warnings.warn) -> tuple[Path, dict] | None:
    """The newest whole checkpoint and its state; a damaged one is told of by name.

    None if there is none at all. Raises CheckpointError if there are, but every one is damaged.
    """
    faults = []
    for path in sorted(folder.glob("iteration_*"), reverse=True):
        fault = _fault(path)
        if fault is None:
            return path, json.loads((path / STATE).read_text())
        faults.append(f"{path} is damaged ({fault})")
        tell(f"{faults[-1]}; using the one before")
    if faults:
        raise CheckpointError(
            f"no checkpoint can be read: {'; '.join(faults)}. Remove {folder.parent} to start again"
        )
    return None


def find(folder: Path, iteration: int) -> Path:
    """The whole checkpoint after `iteration` updates, the newest for 0.

    Raises FileNotFoundError naming those that are kept.
    """
    found = newest(folder) if iteration == 0 else None
    path = found[0] if found else folder / f"iteration_{iteration:06d}"
    if not path.is_dir():
        kept = [p.name for p in sorted(folder.glob("iteration_*"))]
        raise FileNotFoundError(f"{folder}: no checkpoint {path.name}; kept are {kept}")
    fault = _fault(path)
    if fault:
        raise FileNotFoundError(f"checkpoint {path} is damaged ({fault})")
    return path


def _write(folder: Path, write: Callable[[Path], None], state: dict) -> None:
    folder.mkdir()
    write(folder)
    (folder / STATE).write_text(json.dumps(state))
    files = {str(p.relative_to(folder)): _entry(p) for p in _files(folder)}
    (folder / MANIFEST).write_text(json.dumps(files, indent=1))
    for path in [*_files(folder), folder]:
        _fsync(path)


def _unwritten(target: Path, error: Exception, free: float) -> str:
    """What to say of a checkpoint that could not be written with `free` MiB left."""
    # An error from another process brings its traceback; its last line says what happened.
    reason = str(error).strip().split("\n")[-1]
    kept = sorted(p.name for p in target.parent.glob("iteration_*"))
    stays = f"{kept[-1]} stays the newest" if kept else "there is none before it"
    return f"{target} could not be written ({reason}; {free:.1f} MiB were free); {stays}"


def _fault(path: Path) -> str | None:
    try:
        files = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        return f"{MANIFEST}: {error}"
    for name, entry in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if _entry(file) != entry:
            return f"{name} does not have its checksum"
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _entry(path: Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
