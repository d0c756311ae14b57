"""Lets libraries that take a path for a pattern read from folders with any name.

vLLM and DeepSpeed look for files with glob. In a folder named `exp[1]` they find none, and in
one named `a*b` those of `a1b`.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLAIN = re.compile(r"[A-Za-z0-9_./+=,-]*")  # signs that stand for themselves everywhere


@contextmanager
def plain_folder(folder: str | Path) -> Iterator[str]:
    """Give a name of a folder without special signs, valid within this context.

    It is a temporary link if the folder's own name has such signs, and otherwise what was given,
    which may also be a Hugging Face name. Raises OSError if no folder for a link can be written.
    """
    given = str(folder)
    if PLAIN.fullmatch(given) or not os.path.isdir(given):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="score_ray-", dir=_place()) as place:
        link = Path(place) / "folder"
        link.symlink_to(Path(given).absolute(), target_is_directory=True)
        yield str(link)


def _place() -> str:
    """Return a folder for temporary files that has a plain name itself."""
    chosen = tempfile.gettempdir()
    return chosen if PLAIN.fullmatch(chosen) else "/tmp"
