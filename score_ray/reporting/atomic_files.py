"""Writes files and folders under a temporary name, and renames them when they are complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader sees the old content or the new, even after a kill."""
    with renamed_when_whole(path) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def renamed_when_whole(path: Path) -> Iterator[Path]:
    """Yield a path next to `path`; the file or folder written there becomes `path` at the end.

    If the block raises, `path` stays as it was. The next call removes the unfinished file or
    folder.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # a file is overwritten, a folder is not
    yield unfinished
    os.replace(unfinished, path)
