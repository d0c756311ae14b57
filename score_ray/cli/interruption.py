"""Ends a command on Ctrl-C or SIGTERM, with exit code 130 and without a traceback.

A signal raises KeyboardInterrupt, so that a run ends its processes on the way out. Some things
could prevent that, and are taken care of. Python drops an exception that is raised while an object
is deleted or a callback runs: then it is raised again. A library turns it into an error of its
own: then that error counts as the interruption. Or a library catches it and goes on, or a clean-up
hangs: then the process and its children are killed after `PATIENCE` seconds, after `BRIEFLY` if
there are no children, or at another signal.

Only the standard library is imported at the top, so that `watch` can be called before all else.
"""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

EXIT_CODE = 130  # 128 + SIGINT, as shells report it
PATIENCE = 20.0  # seconds that the end of a command may take; a run's takes up to about 8
BRIEFLY = 3.0  # the same, while it has started no process and joined no cluster
# Seconds after a signal in which others are the same one: a terminal and a wrapper both send it.
ECHO = 1.0
AGAIN = 0.05  # seconds until a dropped interruption is raised again


class Interruption:
    """What is known about the interruption of this process."""

    def __init__(self) -> None:
        self.began = 0.0  # when the first signal came; 0 if none did
        self.was_dropped = False  # whether Python dropped the exception
        self.advice: str | Callable[[], str] = "interrupted"  # what it means for the user
        self.was_told = False  # whether the user has been told that

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt at the first signal; kill everything at a later one."""
        now = time.monotonic()
        if self.began and not self.was_dropped:
            if now - self.began > ECHO:
                kill_everything()
            return
        if not self.began:
            self.began = now
            _in_a_while(BRIEFLY, _kill_if_alone)
            _in_a_while(PATIENCE, kill_everything)
        self.was_dropped = False
        raise KeyboardInterrupt

    def on_dropped(self, unraisable: Any) -> None:
        """Raise an interruption again that Python has dropped; be silent while ending."""
        if not self.began:
            sys.__unraisablehook__(unraisable)
        elif issubclass(unraisable.exc_type, KeyboardInterrupt):
            self.was_dropped = True
            _in_a_while(AGAIN, lambda: os.kill(os.getpid(), signal.SIGINT))

    def on_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """Print an uncaught error, unless it comes from the interruption."""
        if not self.began:
            sys.__excepthook__(kind, error, trace)

    def on_error_of_thread(self, args: Any) -> None:
        """Print the error that ends a thread, unless it comes from the interruption."""
        if not self.began:
            threading.__excepthook__(args)

    def tell(self) -> None:
        """Print on stderr what the interruption means, once."""
        if not self.was_told:
            self.was_told = self.began > 0
            with suppress(OSError, ValueError):  # the terminal may be gone
                advice = self.advice if isinstance(self.advice, str) else self.advice()
                print(advice, file=sys.stderr, flush=True)


_interruption = Interruption()


def watch() -> None:
    """From now on, let Ctrl-C and SIGTERM end this process in the way described above."""
    # A job, a pod or a service is ended with SIGTERM, which here ends a run as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interruption.on_signal)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interruption.on_signal)
    sys.unraisablehook = _interruption.on_dropped
    sys.excepthook = _interruption.on_error
    threading.excepthook = _interruption.on_error_of_thread


def is_interrupted() -> bool:
    """Return whether a signal has asked this process to end."""
    return _interruption.began > 0


@contextmanager
def interruptible(advice: str | Callable[[], str]) -> Iterator[None]:
    """Exit with code 130 on Ctrl-C or SIGTERM, with `advice` on stderr."""
    _interruption.advice = advice
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) or is_interrupted()):
            raise
        import typer

        _interruption.tell()
        raise typer.Exit(EXIT_CODE) from None


def kill_everything() -> None:
    """Kill all processes below this one, and end this one with code 130."""
    _interruption.tell()
    with suppress(Exception):
        for process in _children():
            with suppress(Exception):  # it may have ended
                process.kill()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(EXIT_CODE)


def _children() -> list[Any]:
    import psutil

    return psutil.Process().children(recursive=True)


def _kill_if_alone() -> None:
    """End this process if it runs no others, and thus has nothing to clean up."""
    has_ray = getattr(sys.modules.get("ray"), "is_initialized", lambda: False)
    if not has_ray() and not _children():
        kill_everything()


def _in_a_while(seconds: float, call: Callable[[], None]) -> None:
    def wait() -> None:
        time.sleep(seconds)
        call()

    # The signal may have come while a lock of the module threading was held, so it is not used.
    _thread.start_new_thread(wait, ())
