"""The `ipc` weight transfer: learner and engines on the same GPUs, which hand over memory.

Every rank puts a buffer of weights into its GPU's memory, and the engine on that GPU reads it
there; the next buffer follows when all have read it. There is no communicator, so an engine
that is lost holds nobody up: the others get the rest.
"""

from typing import Any

from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.ipc_engine import (
    IPCTrainerInitInfo,
    IPCWeightTransferEngine,
)

from score_ray.weights.object_store import TakesPacked
from score_ray.weights.sender import Sender


class IpcEngine(TakesPacked, IPCWeightTransferEngine):
    """vLLM's receiver, which takes packed updates too."""


class IpcSender(Sender):
    """Every rank offers its GPU's copy; rank 0 tells the engines where all of them are."""

    def _open(self, client: Any, buffer_bytes: int) -> Any:
        # A weight must fit into a buffer whole.
        size = max(buffer_bytes, self._source.largest())
        info = IPCTrainerInitInfo(packed=True, packed_buffer_size_bytes=size, rank=self._rank)
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=self._source)

    def _call_off(self) -> None:
        """Nothing to do: only the client waits for an engine, and it has given up."""
