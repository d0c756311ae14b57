"""Says in one line why a command failed, and keeps the traceback of an unexpected error.

Only the standard library is imported at the top, so that errors appear at once.
"""

import errno
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from score_ray.types import ConfigError, ProcessLost, RunError

EXPECTED = (ConfigError, RunError, ProcessLost)
MIB = 2**20
# What to do about the errors of the operating system that a user can mend, by their numbers.
REMEDIES = {
    errno.ENOSPC: "make room there; the same command then resumes from the last checkpoint",
    errno.EDQUOT: "make room there; the same command then resumes from the last checkpoint",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that this user may write to, or change its permissions",
    errno.EPERM: "choose a folder that this user may write to, or change its permissions",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another path",
    errno.EEXIST: "a file stands where a folder is needed; choose another path",
    errno.EISDIR: "a folder stands where a file is needed; choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "end other programs of this machine, or raise fs.file-max",
    errno.EAGAIN: "allow more processes (ulimit -u, or the container's limit of pids)",
    errno.ENOMEM: "use a machine with more memory, or a smaller run",
    errno.ENOENT: "restore it, or name another path",
}
# How libraries that write files by themselves report a full disk.
FULL = ("no space left on device", "inline_container", "pytorchstreamwriter failed", "os error 28")
FULL_LINE = "no space left on device"

_folders: list[Path] = []  # run folders of the command, in which tracebacks are kept


@contextmanager
def tracebacks_in(folder: Path) -> Iterator[None]:
    """Keep the tracebacks of the block's unexpected errors in a folder, if it exists then."""
    _folders.append(folder)
    yield
    _folders.remove(folder)  # an error leaves it for `explain`


def explain(error: BaseException) -> str:
    """Return one line on why a command failed; the traceback of an unexpected error goes to a file.

    The error of a remote process counts as what caused it there.
    """
    cause = _origin(error)
    notes = "".join(f"; {note}" for note in _notes(error, cause))
    if isinstance(cause, EXPECTED):
        return f"error: {cause}{notes}"
    if line := _of_system(cause):
        return f"error: {line}{notes}"
    kind, text = type(cause).__name__, _last_line(str(cause))
    what = f"{kind}: {text}" if text else kind
    return f"error: unexpected error: {what}{notes}; {_kept(error)}"


def _origin(error: BaseException) -> BaseException:
    """Return the error that a Ray task raised in its process, or the error itself."""
    cause = getattr(error, "cause", None)
    return _origin(cause) if isinstance(cause, BaseException) else error


def _notes(*errors: BaseException) -> list[str]:
    return list(dict.fromkeys(n for e in errors for n in getattr(e, "__notes__", [])))


def _of_system(error: BaseException) -> str:
    """Return a line on an error of the operating system, with a remedy; "" for any other error."""
    text = str(error).lower()
    if any(words in text for words in FULL):
        # Libraries do not say where.
        return f"{FULL_LINE}: {_full_places()}; {REMEDIES[errno.ENOSPC]}"
    if not isinstance(error, OSError) or error.errno not in REMEDIES:
        return ""
    reason = os.strerror(error.errno)
    where = f"{error.filename2 or error.filename}: " if error.filename else ""
    return f"{where}{reason[:1].lower()}{reason[1:]}; {REMEDIES[error.errno]}"


def _full_places() -> str:
    """Return the places in which runs write and that are full, or all of them if none is."""
    usual = {str(f): f for f in (*_folders, Path(tempfile.gettempdir()), Path("/dev/shm"))}
    usual["HOME"] = Path.home()
    free = {}
    for name, folder in usual.items():
        with suppress(OSError):
            there = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
            free[name] = shutil.disk_usage(there).free
    full = [name for name, size in free.items() if size < MIB]
    return " and ".join(full) or f"in one of {', '.join(free)}"


def _last_line(text: str) -> str:
    """Return the last line that says something: libraries put a whole traceback before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if len(lines) > 1 and "Traceback" in text else " ".join(lines)[:500]


def _kept(error: BaseException) -> str:
    """Write the traceback to a file; return where it is, or itself if no file can be written."""
    text = "".join(traceback.format_exception(error))
    name = f"score-ray-traceback-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    # A folder without a config holds no run, and is not to look as if it did.
    kept = [folder for folder in _folders if (folder / "config.yaml").is_file()]
    for folder in (*reversed(kept), Path(tempfile.gettempdir()), Path.cwd()):
        with suppress(OSError):
            (folder / name).write_text(text, encoding="utf-8")
            return f"the traceback is in {folder / name}"
    return f"no file can be written for the traceback:\n{text}"
