"""Checkpoints that are whole or not there: written aside, checksummed, renamed."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from score_ray.types import ProcessLost, RunError

MANIFEST, STATE = "manifest.json", "state.json"
UNFINISHED, ASIDE = ".tmp-", ".old-"
# Of a full disk, in the text of an error that came from another process.
FULL = ("No space left on device", "PytorchStreamWriter failed")


class CheckpointError(RunError):
    """A checkpoint could not be written, or none that was written can be read."""


def save(
    folder: Path,
    iteration: int,
    write: Callable[[Path], None],
    state: dict,
    keep: int,
    spare: int | None = None,
) -> Path:
    """Save what `write` puts into a folder, and `state`; keep the newest `keep` checkpoints.

    The one after `spare` updates stays too.
    Nothing is visible under the final name before everything is on disk. A later one is of
    a past that the run went back from, and goes. Raises CheckpointError if it cannot be
    written, on a full disk for instance; those before it stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    target = folder / f"iteration_{iteration:06d}"
    for path in folder.glob("iteration_*"):
        if path.name >= target.name and _fault(path):
            shutil.rmtree(path)  # before the new one is written, which may need its space
    unfinished = folder / f"{UNFINISHED}{target.name}"
    try:
        _write(unfinished, write, state)
    except BaseException as error:
        said = _unwritten(target, unfinished, error) if _is_of_writing(error) else ""
        shutil.rmtree(unfinished, ignore_errors=True)
        if said:
            raise CheckpointError(said) from error
        raise
    _put_in_place(unfinished, target)
    spared = f"iteration_{spare:06d}" if spare is not None else ""
    for old in sorted(folder.glob("iteration_*"))[:-keep]:
        if old.name != spared:
            shutil.rmtree(old)
    return target


def newest(folder: Path, tell: Callable[[str], None] = warnings.warn) -> tuple[Path, dict] | None:
    """The newest whole checkpoint and its state; a damaged one is told of by name.

    None if there is none at all. Raises CheckpointError if there are, but every one is damaged.
    """
    faults = []
    for path in _newest_first(folder):
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


def _put_in_place(unfinished: Path, target: Path) -> None:
    """Give a whole checkpoint its name; a kill at any moment leaves it or the one before it."""
    for path in target.parent.glob("iteration_*"):
        if path.name > target.name:
            shutil.rmtree(path)
    if target.exists():
        os.rename(target, target.with_name(f"{ASIDE}{target.name}"))
    os.rename(unfinished, target)
    _fsync(target.parent)
    _tidy(target.parent)


def _tidy(folder: Path) -> None:
    """Remove what a killed save left, but put back what it had set aside and not replaced."""
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(unfinished)
    for aside in folder.glob(f"{ASIDE}*"):
        place = _place(aside)
        if place.exists():
            shutil.rmtree(aside)
        else:
            os.rename(aside, place)


def _newest_first(folder: Path) -> list[Path]:
    """All checkpoints; one that is set aside counts while nothing is in its place."""
    found = {_place(path): path for path in folder.glob(f"{ASIDE}*")}
    found |= {path: path for path in folder.glob("iteration_*")}
    return [found[place] for place in sorted(found, reverse=True)]


def _place(path: Path) -> Path:
    return path.with_name(path.name.removeprefix(ASIDE))


def _is_of_writing(error: BaseException) -> bool:
    if isinstance(error, ProcessLost):
        return False
    return isinstance(error, OSError | RuntimeError) or any(text in str(error) for text in FULL)


def _unwritten(target: Path, unfinished: Path, error: BaseException) -> str:
    """What to say of a checkpoint that could not be written, while what there is of it is there."""
    # An error from another process brings its traceback; its last line says what happened.
    reason = str(error).strip().split("\n")[-1]
    taken = sum(path.stat().st_size for path in _files(unfinished)) / 2**20
    free = shutil.disk_usage(target.parent).free / 2**20
    kept = _newest_first(target.parent)
    stays = f"{_place(kept[0]).name} stays the newest" if kept else "there is none before it"
    return (
        f"{target} could not be written ({reason}; it had come to {taken:.1f} MiB, "
        f"{free:.1f} MiB were free); {stays}"
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
            found = _entry(file)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if found != entry:
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
