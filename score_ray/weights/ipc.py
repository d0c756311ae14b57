"""The `ipc` weight transfer: learner and engines share the memory of the same GPUs.

Every rank puts a buffer of weights into its GPU's memory, and the engine on that GPU reads it
there; the next buffer follows when all engines have read it. There is no communicator, so the
loss of an engine does not keep the others from receiving the rest.
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
    """The learner's side: each rank offers its GPU's copy, and rank 0 tells the engines where."""

    def call_off(self) -> None:
        """Do nothing: only the client waits for an engine, and it stops waiting by itself."""

    def _open(self, client: Any, buffer_bytes: int) -> Any:
        # Each weight must fit into a buffer as a whole.
        size = max(buffer_bytes, self._source.largest())
        info = IPCTrainerInitInfo(packed=True, packed_buffer_size_bytes=size, rank=self._rank)
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=self._source)
