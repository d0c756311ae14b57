"""The `ipc` weight transfer: learner and engines on the same GPUs, which hand memory over.

Every rank puts a buffer of weights into its GPU's memory, and the engine on that GPU reads it
there; the next buffer follows when all engines have read it. There is no communicator, so an
engine that is lost holds nobody up: the others get the rest.
"""

from typing import Any

from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.ipc_engine import (
    IPCTrainerInitInfo,
    IPCWeightTransferEngine,
)

from score_ray.weights.object_store import PackedWeightsReceiver
from score_ray.weights.sender import WeightSender


class IpcEngine(PackedWeightsReceiver, IPCWeightTransferEngine):
    """vLLM's receiver, which also takes packed updates."""


class IpcSender(WeightSender):
    """Every rank offers its GPU's copy; rank 0 tells the engines where all copies are."""

    def call_off(self) -> None:
        """Do nothing: only the client waits for an engine, and it has given up."""

    def _open(self, client: Any, buffer_bytes: int) -> Any:
        # Each weight must fit into a buffer as a whole.
        size = max(buffer_bytes, self._source.largest())
        info = IPCTrainerInitInfo(packed=True, packed_buffer_size_bytes=size, rank=self._rank)
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=self._source)
