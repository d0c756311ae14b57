"""Writes and reads checkpoints.

A checkpoint is written under a temporary name, with checksums, and renamed when it is complete.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from score_ray.types import ProcessLost, RunError

MANIFEST, STATE = "manifest.json", "state.json"
PREFIX = "iteration_"  # of a checkpoint's name
UNFINISHED, REPLACED = ".tmp-", ".old-"  # prefixes of a checkpoint's name
# What an error from another process says if the disk is full; its type is lost on the way.
DISK_FULL = ("No space left on device", "PytorchStreamWriter failed")


class CheckpointError(RunError):
    """A checkpoint that could not be written, or checkpoints of which none can be read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run: updates made, the next KL coefficients, checkpoints saved."""

    iteration: int = 0
    kl: tuple[float, ...] = ()  # empty for those of the stage
    saved: tuple[int, ...] = ()  # updates before each checkpoint ever saved


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An undamaged checkpoint on disk, and the progress of its run."""

    path: Path
    progress: Progress


def save(
    folder: Path,
    progress: Progress,
    write: Callable[[Path], None],
    keep: int,
    spare: int | None = None,
) -> Path:
    """Save what `write` puts into a folder, and the progress; return the checkpoint's path.

    The newest `keep` checkpoints are kept, and the one after `spare` updates. Checkpoints of later
    iterations are deleted, because the run has gone back to before them. The final name appears
    only when everything is on disk. Raises CheckpointError if the checkpoint cannot be written,
    on a full disk for instance; earlier checkpoints are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    target = folder / _name(progress.iteration)
    for path in folder.glob(f"{PREFIX}*"):
        if path.name >= target.name and _fault(path):
            shutil.rmtree(path)  # first, because the new checkpoint may need its space
    unfinished = folder / f"{UNFINISHED}{target.name}"
    try:
        _write(unfinished, write, progress)
    except BaseException as error:
        message = _write_error_message(target, unfinished, error) if _is_write_error(error) else ""
        shutil.rmtree(unfinished, ignore_errors=True)
        if message:
            raise CheckpointError(message) from error
        raise
    _put_in_place(unfinished, target)
    spared = _name(spare) if spare is not None else ""
    for old in sorted(folder.glob(f"{PREFIX}*"))[:-keep]:
        if old.name != spared:
            shutil.rmtree(old)
    return target


def newest(folder: Path, report: Callable[[str], None] = warnings.warn) -> Checkpoint | None:
    """Return the newest undamaged checkpoint, or None if there is none; report damaged newer ones.

    Raises CheckpointError if there are checkpoints, but all are damaged.
    """
    faults = []
    for path in _newest_first(folder):
        fault = _fault(path)
        if fault is None:
            for found in faults:
                report(f"{found}; the one before it is taken")
            return Checkpoint(path, read_progress(path))
        faults.append(f"{path} is damaged ({fault})")
    if faults:
        raise CheckpointError(
            f"no checkpoint can be read: {'; '.join(faults)}. To begin anew, train with --fresh: "
            f"it moves {folder.parent} aside"
        )
    return None


def find(folder: Path, iteration: int, report: Callable[[str], None] = warnings.warn) -> Path:
    """Return the path of the checkpoint after `iteration` updates; 0 stands for the newest.

    Damaged ones that are newer than the newest undamaged one are reported. Raises
    FileNotFoundError, naming the checkpoints that are kept, if it is missing or damaged.
    """
    last = newest(folder, report) if iteration == 0 else None
    path = last.path if last else folder / _name(iteration)
    if not path.is_dir():
        kept = [str(int(p.name.removeprefix(PREFIX))) for p in sorted(folder.glob(f"{PREFIX}*"))]
        if not kept:
            raise FileNotFoundError(f"{folder.parent}: the run has no checkpoint yet")
        raise FileNotFoundError(
            f"{folder.parent}: no checkpoint after {iteration} updates; kept are those after "
            f"{', '.join(kept)}"
        )
    fault = _fault(path)
    if fault:
        raise FileNotFoundError(f"checkpoint {path} is damaged ({fault})")
    return path


def read_progress(path: Path) -> Progress:
    """Return the progress that a checkpoint was saved with."""
    state = json.loads((path / STATE).read_text())
    # Checkpoints of an older version have neither of the last two.
    return Progress(state["iteration"], tuple(state.get("kl", ())), tuple(state.get("saved", ())))


def _name(iteration: int) -> str:
    return f"{PREFIX}{iteration:06d}"


def _write(folder: Path, write: Callable[[Path], None], progress: Progress) -> None:
    folder.mkdir()
    write(folder)
    (folder / STATE).write_text(json.dumps(asdict(progress)))
    files = {str(p.relative_to(folder)): _entry(p) for p in _files(folder)}
    (folder / MANIFEST).write_text(json.dumps(files, indent=1))
    for path in [*_files(folder), folder]:
        _fsync(path)


def _put_in_place(unfinished: Path, target: Path) -> None:
    """Rename a complete checkpoint; a kill at any moment leaves the new one or the old one."""
    for path in target.parent.glob(f"{PREFIX}*"):
        if path.name > target.name:
            shutil.rmtree(path)
    if target.exists():
        os.rename(target, target.with_name(f"{REPLACED}{target.name}"))
    os.rename(unfinished, target)
    _fsync(target.parent)
    _tidy(target.parent)


def _tidy(folder: Path) -> None:
    """Clean up after a killed save: delete unfinished checkpoints, restore one not yet replaced."""
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(unfinished)
    for replaced in folder.glob(f"{REPLACED}*"):
        place = _place(replaced)
        if place.exists():
            shutil.rmtree(replaced)
        else:
            os.rename(replaced, place)


def _newest_first(folder: Path) -> list[Path]:
    """Return all checkpoints, newest first; one renamed aside counts if it was not replaced."""
    paths = {_place(path): path for path in folder.glob(f"{REPLACED}*")}
    paths |= {path: path for path in folder.glob(f"{PREFIX}*")}
    return [paths[place] for place in sorted(paths, reverse=True)]


def _place(path: Path) -> Path:
    return path.with_name(path.name.removeprefix(REPLACED))


def _is_write_error(error: BaseException) -> bool:
    if isinstance(error, ProcessLost):
        return False
    return isinstance(error, OSError | RuntimeError) or any(
        text in str(error) for text in DISK_FULL
    )


def _write_error_message(target: Path, unfinished: Path, error: BaseException) -> str:
    """Return the message about a checkpoint that could not be written, before it is cleaned up."""
    # An error from another process contains its traceback; the last line says what happened.
    reason = str(error).strip().split("\n")[-1]
    written = sum(path.stat().st_size for path in _files(unfinished)) / 2**20
    free = shutil.disk_usage(target.parent).free / 2**20
    kept = _newest_first(target.parent)
    remains = f"{_place(kept[0]).name} stays the newest" if kept else "there is none before it"
    return (
        f"{target} could not be written ({reason}; {written:.1f} MiB were written, "
        f"{free:.1f} MiB are free); {remains}"
    )


def _fault(path: Path) -> str | None:
    try:
        files = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        return f"{MANIFEST}: {error}"
    if not isinstance(files, dict) or STATE not in files:
        return f"{MANIFEST} does not list {STATE}"
    for name, entry in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        try:
            unchanged = _entry(file) == entry
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if not unchanged:
            return f"{name} does not match its checksum"
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
