"""The learner's end of a direct broadcast: vLLM's own sender, and the epoch it belongs to.

An epoch is a set of engines that a sender has been set up with. It goes on as long as the same
engines are sent to, and ends when one is replaced, when the learner starts again, or when a
broadcast failed: after any of these nobody's end of a communicator is of use.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from score_ray.weights.policy_source import PolicySource


class EngineCalls(Protocol):
    """vLLM's four calls to the engines (VLLMWeightSyncClient), and what became of them.

    It never raises for an engine that is lost: it notes that, tells `on_loss`, and goes on.
    """

    members: Sequence[Any]  # who is sent to, in a fixed order; a replacement is another member
    workers: int  # GPUs of all engines together
    lost: dict[str, str]  # who, and how
    on_loss: Callable[[], None]


class Sender(ABC):
    """One rank's end; rank 0 sends, and the others take part in gathering the weights."""

    def __init__(self, source: PolicySource, rank: int, host: str) -> None:
        """`host` is this node's address, where engines can reach rank 0."""
        self._source, self._rank, self._host = source, rank, host
        self._trainer: Any = None
        self._members: Sequence[Any] = ()
        self.epoch = 0

    def send(self, client: EngineCalls, buffer_bytes: int) -> None:
        """Send the weights to everyone that the client reaches, in buffers of about that size.

        Returns in any case when the client gives up; `client.lost` then says on whom. Every
        rank goes through the weights once, however rank 0 fares.
        """
        client.on_loss = self._call_off
        if self._trainer is None or self._members != client.members:
            self._close()
            self.epoch += 1
            self._trainer = self._open(client, buffer_bytes)
            self._members = client.members
        if self._trainer is None:
            self._source.metadata()  # as in `send_weights`: it may be a pass of its own
            deque(self._source, maxlen=0)
        else:
            self._trainer.client = client
            self._trainer.send_weights()
        if client.lost:
            self._close()

    @abstractmethod
    def _open(self, client: EngineCalls, buffer_bytes: int) -> Any:
        """vLLM's sender, set up with all engines; None if they could not be brought together."""

    @abstractmethod
    def _call_off(self) -> None:
        """Have a broadcast end in which an engine was lost."""

    def _close(self) -> None:
        if self._trainer is not None:
            self._trainer.shutdown()
            self._trainer = None
