"""The rendezvous of a communicator's members, and calling off a broadcast that cannot end.

NCCL never gives up: a member whose peer is dead or stuck waits in the GPU for good. All members
first meet at a store in the sender's process. A process that notices a loss writes so into that
store. Every member looks there once a second, and then aborts its end. A store that does not
answer means the same: the sender is gone.
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
TICK = 1.0  # seconds between two looks into the store
STORE_TIMEOUT = timedelta(seconds=60)  # the store's process may be busy starting

T = TypeVar("T")


@dataclass(frozen=True)
class Rendezvous:
    """Host and port of the sender's store."""

    host: str
    port: int

    def connect(self) -> TCPStore:
        """Return a new connection to the store, so that no other thread blocks it."""
        return TCPStore(
            self.host, self.port, is_master=False, wait_for_workers=False, timeout=STORE_TIMEOUT
        )

    def call_off(self) -> None:
        """Have every member give up; without a store there is no member left to do so."""
        with suppress(RuntimeError):
            self.connect().set(KEY, "1")


@contextmanager
def abort_if_called_off(rendezvous: Rendezvous, abort: Callable[[], Any]) -> Iterator[None]:
    """Call `abort` from a thread if the broadcast is called off within this context.

    Raises PeerLost then, in place of any error that the abort has led to.
    """
    over, called_off = threading.Event(), threading.Event()

    def watch() -> None:
        with suppress(RuntimeError):  # the store is gone
            store = rendezvous.connect()
            while not (over.is_set() or store.check([KEY])):
                if over.wait(TICK):
                    return
        if not over.is_set():
            called_off.set()
            abort()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except Exception as error:
        if called_off.is_set():
            raise PeerLost(CALLED_OFF) from error
        raise
    finally:
        over.set()
    if called_off.is_set():
        raise PeerLost(CALLED_OFF)


def join_or_give_up(rendezvous: Rendezvous, join: Callable[[], T]) -> T:
    """Return what `join` does, which waits for the other members; PeerLost if it is called off.

    There is no communicator yet that could be aborted, so the waiting thread is then left
    behind. It holds no weights, and a later rendezvous is at another port.
    """
    stopped, result = threading.Event(), Future()

    def wait_for_others() -> None:
        try:
            result.set_result(join())
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=wait_for_others, daemon=True).start()
    with abort_if_called_off(rendezvous, stopped.set):
        while not stopped.is_set() and not result.done():
            wait([result], timeout=TICK)
    return result.result()  # it is done: a rendezvous that was called off has raised


def was_called_off(worker: Any) -> bool:
    """Return whether a vLLM worker's last direct transfer was called off."""
    return getattr(worker.weight_transfer_engine, "called_off", False)
