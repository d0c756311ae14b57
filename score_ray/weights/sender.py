"""The learner's end of a direct broadcast, which uses vLLM's own sender.

vLLM's sender is set up for a fixed set of engines. It is set up anew when an engine is replaced,
when the learner is restarted, and after a broadcast that failed: after any of these, no process
can use its end of a communicator any more.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from score_ray.weights.policy_source import PolicySource


class EngineCalls(Protocol):
    """vLLM's four calls to the engines (VLLMWeightSyncClient), and a record of lost engines.

    A call never raises for an engine that is lost: it records the loss, has the broadcast called
    off, and goes on.
    """

    members: Sequence[Any]  # the engines, in a fixed order; a replacement is another member
    workers: int  # GPUs of all engines together
    lost: dict[str, str]  # how each lost engine was lost, by its actor's name


class WeightSender(ABC):
    """One rank's end of a broadcast; rank 0 sends, and all ranks gather the weights."""

    def __init__(self, source: PolicySource, rank: int, host: str) -> None:
        """`host` is this node's address, where engines can reach rank 0."""
        self._source, self._rank, self._host = source, rank, host
        self._trainer: Any = None
        self._members: Sequence[Any] = ()
        self.num_setups = 0

    def send(self, client: EngineCalls, buffer_bytes: int) -> None:
        """Send the weights to all engines of the client, in buffers of about that size.

        Returns at the latest when the client gives up, and `client.lost` then names the lost
        engines. Every rank goes through the weights once, whatever happens at rank 0.
        """
        if self._trainer is None or self._members != client.members:
            self._close()
            self.num_setups += 1
            self._trainer = self._open(client, buffer_bytes)
            self._members = client.members
        if self._trainer is None:
            self._source.metadata()  # `send_weights` calls it too, and it may be a collective
            deque(self._source, maxlen=0)
        else:
            self._trainer.client = client
            self._trainer.send_weights()
        if client.lost:
            self._close()

    @abstractmethod
    def call_off(self) -> None:
        """End a broadcast in which an engine was lost."""

    @abstractmethod
    def _open(self, client: EngineCalls, buffer_bytes: int) -> Any:
        """Return vLLM's sender, set up with all engines; None if setting it up failed."""

    def _close(self) -> None:
        if self._trainer is not None:
            self._trainer.shutdown()
            self._trainer = None
