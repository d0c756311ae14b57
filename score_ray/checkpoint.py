"""Checkpoints that are whole or not there: written aside, checksummed, renamed."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

MANIFEST, STATE = "manifest.json", "state.json"


def save(
    folder: Path, iteration: int, write: Callable[[Path], None], state: dict, keep: int
) -> Path:
    """Save what `write` puts into a folder, and `state`; keep the newest `keep` checkpoints.

    Nothing is visible under the final name before everything is on disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover)
    target = folder / f"iteration_{iteration:06d}"
    unfinished = folder / f".tmp-{target.name}"
    unfinished.mkdir()
    write(unfinished)
    (unfinished / STATE).write_text(json.dumps(state))
    files = {str(p.relative_to(unfinished)): _entry(p) for p in _files(unfinished)}
    (unfinished / MANIFEST).write_text(json.dumps(files, indent=1))
    for path in [*_files(unfinished), unfinished]:
        _fsync(path)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(unfinished, target)
    _fsync(folder)
    for old in sorted(folder.glob("iteration_*"))[:-keep]:
        shutil.rmtree(old)
    return target


def newest(folder: Path) -> tuple[Path, dict] | None:
    """The newest whole checkpoint and its state; a damaged one is named in a warning."""
    for path in sorted(folder.glob("iteration_*"), reverse=True):
        fault = _fault(path)
        if fault is None:
            return path, json.loads((path / STATE).read_text())
        warnings.warn(f"checkpoint {path} is damaged ({fault}); using the one before", stacklevel=2)
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
