"""The rendezvous of a communicator's members, and calling off a broadcast that cannot end.

NCCL never gives up: a member whose peer is dead or stuck blocks its GPU for good. All members
first connect to a store in the sender's process. A process that notices a loss sets a key in that
store. Every member looks for the key once a second, and aborts its end when it is there. A store
that does not answer means that the sender is gone, and has the same effect.
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
        """Make every member give up. Without a store they do so by themselves."""
        with suppress(RuntimeError):
            self.connect().set(KEY, "1")


@contextmanager
def abort_if_called_off(rendezvous: Rendezvous, abort: Callable[[], Any]) -> Iterator[None]:
    """Call `abort` from a thread if the broadcast is called off within this context.

    The context then raises PeerLost, in place of any error that the abort has caused.
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
    """Return the result of `join`, which waits for the other members.

    Raises PeerLost if the broadcast is called off. There is no communicator yet that could be
    aborted, so the waiting thread is then left behind. It holds no weights, and a later
    rendezvous is at another port.
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
    return result.result()  # done, because the context raises if the broadcast was called off


def was_called_off(worker: Any) -> bool:
    """Return whether a vLLM worker's last direct transfer was called off."""
    return getattr(worker.weight_transfer_engine, "called_off", False)
