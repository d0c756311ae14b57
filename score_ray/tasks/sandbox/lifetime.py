"""Ends the processes of a sandbox so that none is left, not even as a zombie.

A sandbox is two or three processes in one process group. Whoever kills only the first leaves the
others to process 1, which in many containers is a program that waits for no child: each of them
would stay as a zombie and use up the limit of processes. So this process adopts them, kills the
whole group, and waits for every member.
"""

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37

_libc = ctypes.CDLL(None, use_errno=True)
_lock = threading.Lock()
_adopting = 0  # blocks of `adopting_orphans` that are running, in all threads
_adopts_anyway = False  # whether this process adopted orphans before the first of them


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """While the block runs, orphans below this process become its children, not process 1's."""
    global _adopting, _adopts_anyway
    with _lock:
        if _adopting == 0:
            _adopts_anyway = _adopts()
            _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _adopting += 1
    try:
        yield
    finally:
        with _lock:
            _adopting -= 1
            if _adopting == 0:  # a driver must not collect the orphans of its other children
                _libc.prctl(PR_SET_CHILD_SUBREAPER, int(_adopts_anyway), 0, 0, 0)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group, and all of the group; wait until none is left.

    Must be called within `adopting_orphans`.
    """
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.wait()
    # The leader has ended, so what is left of its group has been adopted by this process.
    with suppress(ChildProcessError):
        while True:
            os.waitid(os.P_PGID, process.pid, os.WEXITED)


def end_descendants() -> None:
    """Kill all processes below this one, and wait until none is left.

    For a process that ends itself next: its other threads find their processes gone.
    """
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with suppress(ChildProcessError):
        while True:
            for process in psutil.Process().children(recursive=True):
                # One with rights of its own ends with the process that started it.
                with suppress(psutil.Error):
                    process.kill()
            os.waitpid(-1, 0)


def _adopts() -> bool:
    answer = ctypes.c_int()
    _libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)
