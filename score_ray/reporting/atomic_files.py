"""Files and folders that are whole or absent: written under another name, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader, or a kill, meets the old one or the new one."""
    with renamed_when_whole(path) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def renamed_when_whole(path: Path) -> Iterator[Path]:
    """Yield a path next to `path`; the file or folder written there becomes `path` at the end.

    If the block raises, `path` stays as it was. The next call removes what is left of the
    unfinished one.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # a file is overwritten, a folder is not
    yield unfinished
    os.replace(unfinished, path)
