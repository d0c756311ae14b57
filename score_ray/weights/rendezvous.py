"""Where the members of a communicator meet, and how a broadcast that cannot end is called off.

NCCL never gives up: a member whose peer is dead or stuck waits in the GPU for good. All
members met at a store in the sender's process. Who notices that something is wrong says so in
that store; every member looks there once a second, and aborts its own end. A store that does
not answer is the end too: the sender is gone.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from torch.distributed import TCPStore  # type: ignore[reportPrivateImportUsage]

from score_ray.types import PeerLost

CALLED_OFF = "the broadcast was called off"
KEY = "called_off"
TICK = 1.0  # seconds between two looks
ANSWER = timedelta(seconds=60)  # for the store's process, which may be busy starting

T = TypeVar("T")


@dataclass(frozen=True)
class Meeting:
    """Host and port of the sender's store."""

    host: str
    port: int

    def store(self) -> TCPStore:
        """A connection of one's own: no other thread can be in its way."""
        return TCPStore(
            self.host, self.port, is_master=False, wait_for_workers=False, timeout=ANSWER
        )

    def call_off(self) -> None:
        """Tell every member to give up; without a store nobody is left to be told."""
        with suppress(RuntimeError):
            self.store().set(KEY, "1")


@contextmanager
def watched(meeting: Meeting, abort: Callable[[], Any]) -> Iterator[None]:
    """What happens within ends: `abort` is called, from a thread, when it is called off.

    Raises PeerLost then, in place of whatever the abort has led to.
    """
    over, off = threading.Event(), threading.Event()

    def watch() -> None:
        with suppress(RuntimeError):  # the store is gone
            store = meeting.store()
            while not (over.is_set() or store.check([KEY])):
                if over.wait(TICK):
                    return
        if not over.is_set():
            off.set()
            abort()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except Exception as error:
        if off.is_set():
            raise PeerLost(CALLED_OFF) from error
        raise
    finally:
        over.set()
    if off.is_set():
        raise PeerLost(CALLED_OFF)


def meet(meeting: Meeting, join: Callable[[], T]) -> T:
    """What `join` returns, which waits for the other members; PeerLost if it is called off.

    There is no communicator yet that could be aborted, so then the thread that waits is left
    behind: it holds no weights, and a later meeting is at another port.
    """
    stopped, found = threading.Event(), Future()

    def wait_for_others() -> None:
        try:
            found.set_result(join())
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=wait_for_others, daemon=True).start()
    with watched(meeting, stopped.set):
        while not stopped.is_set() and not found.done():
            wait([found], timeout=TICK)
    return found.result()  # is there: what is called off has raised


def was_called_off(worker: Any) -> bool:
    """Whether a vLLM worker's last direct transfer did not come to its end."""
    return getattr(worker.weight_transfer_engine, "called_off", False)
