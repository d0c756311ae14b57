"""Locks a folder for one process at a time, and moves away what a locked folder holds."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from score_ray.types import ConfigError

LOCK = ".lock"


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Lock a folder for a block, and make it first if it is missing.

    If the block raises before anything was added to the folder, it is left as it was found: the
    lock file and the folders that were made for it are removed again. Raises
    ConfigError(refusal) if another process has locked the folder.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    found = {path.name for path in folder.iterdir()}
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"{folder}: {refusal}") from None
    try:
        yield
    except BaseException:
        if LOCK not in found and {path.name for path in folder.iterdir()} == {*found, LOCK}:
            _remove(folder, made)
        raise
    finally:
        lock.release()


def set_aside(folder: Path, last: str) -> Path | None:
    """Move all that a locked folder holds into the first free one of NAME.1, NAME.2 ...; return it.

    The lock file stays, and so does the lock. The entry called `last` is moved last. Returns None
    if there is nothing to move.
    """
    entries = [path for path in folder.iterdir() if path.name != LOCK]
    if not entries:
        return None
    numbered = (folder.with_name(f"{folder.name}.{number}") for number in count(1))
    place = next(path for path in numbered if not path.exists())
    place.mkdir()
    for path in sorted(entries, key=lambda path: path.name == last):
        path.rename(place / path.name)
    return place


def _remove(folder: Path, made: list[Path]) -> None:
    """Remove the lock file, and from the inside out the folders that were made.

    The lock is still held: a process that has opened the file meanwhile sees that it is gone.
    """
    with suppress(OSError):
        (folder / LOCK).unlink()
        for path in made:
            path.rmdir()
