"""The `nccl` weight transfer: learner and engines on different GPUs, one broadcast to all.

It survives an engine that dies or hangs, before, during or after a broadcast. Rank 0 then calls
the broadcast off, and every other engine gives up within a second or two. These engines hold a
mixture of old and new weights until the next broadcast, which makes a new communicator.

It does not survive two things. When a learner rank dies, the learner is lost, as with any back
end; the engines give up within a second or two. And where NCCL cannot be aborted on a GPU, the
process on it stays blocked, and counts as hung.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.nccl_common import (
    NCCLWeightTransferInitInfo,
    worker_init_process_group,
)
from vllm.distributed.weight_transfer.nccl_engine import (
    NCCLTrainerInitInfo,
    NCCLWeightTransferEngine,
)
from vllm.utils.network_utils import get_open_port

from score_ray.types import PeerLost
from score_ray.weights.object_store import PackedUpdate, PackedWeightsReceiver
from score_ray.weights.rendezvous import Rendezvous, abort_if_called_off, join_or_give_up
from score_ray.weights.sender import EngineCalls, WeightSender


class NcclEngine(PackedWeightsReceiver, NCCLWeightTransferEngine):
    """vLLM's receiver, extended so that a transfer can be called off.

    A transfer that is called off sets `called_off` and does not raise: with tensor parallelism,
    an exception in one of vLLM's processes would put their replies out of step for good.
    """

    called_off = False

    def init_transfer_engine(self, init_info: NCCLWeightTransferInitInfo) -> None:
        """Join a new communicator.

        This does what vLLM's method does, except that a thread which still waits in an older
        rendezvous cannot set anything here.
        """
        self.shutdown()
        assert init_info.master_address is not None
        assert init_info.master_port is not None
        self._rendezvous = Rendezvous(init_info.master_address, init_info.master_port)
        self.packed = init_info.packed
        self.packed_buffer_size_bytes = init_info.packed_buffer_size_bytes
        self.packed_num_buffers = init_info.packed_num_buffers
        with self._recording_call_off():
            self.model_update_group = AbortableGroup(
                join_or_give_up(self._rendezvous, lambda: self._join(init_info))
            )

    def receive_weights(self, update_info: Any) -> None:
        """Receive as vLLM does, until it is called off or the sender is gone."""
        group = self.model_update_group
        with self._recording_call_off():
            if group is None or isinstance(update_info, PackedUpdate):
                super().receive_weights(update_info)
                return
            with abort_if_called_off(self._rendezvous, group.abort):
                super().receive_weights(update_info)

    def _join(self, init_info: NCCLWeightTransferInitInfo) -> Any:
        torch.accelerator.set_device_index(self.device)  # a new thread starts on the first GPU
        return worker_init_process_group(init_info, self.parallel_config)

    @contextmanager
    def _recording_call_off(self) -> Iterator[None]:
        self.called_off = False
        try:
            yield
        except PeerLost:
            self.called_off = True


class AbortableGroup:
    """One end of a communicator; after an abort its broadcasts do nothing.

    The sender can therefore go through the rest of the weights, as it must: gathering them is a
    collective of all ranks. And no thread uses what another one has begun to free.
    """

    def __init__(self, group: Any) -> None:
        self._group, self._aborted = group, False

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        """Send a buffer to all members, or receive it."""
        if self._aborted:
            return
        try:
            self._group.broadcast(tensor, src=src)
        except RuntimeError:
            if not self._aborted:
                raise

    def abort(self) -> None:
        """End a broadcast that is under way, from another thread."""
        self._aborted = True
        self._group.destroy()

    destroy = abort


class NcclSender(WeightSender):
    """The learner's side: rank 0 broadcasts on a communicator with all GPUs of all engines."""

    _rendezvous: Rendezvous | None = None

    def call_off(self) -> None:
        """Make all members give up, and abort this end."""
        if self._rendezvous:
            self._rendezvous.call_off()
        if self._trainer is not None:
            self._trainer.model_update_group.abort()

    def _open(self, client: EngineCalls, buffer_bytes: int) -> Any:
        rendezvous = Rendezvous(self._host, get_open_port())
        info = NCCLTrainerInitInfo(
            master_address=rendezvous.host,
            master_port=rendezvous.port,
            world_size=1 + client.workers,
            packed_buffer_size_bytes=buffer_bytes,
            rank=self._rank,
        )
        if not info.is_sender:
            return self._make_trainer(info, client)
        self._rendezvous = rendezvous
        try:
            trainer = join_or_give_up(rendezvous, lambda: self._make_trainer(info, client))
        except PeerLost:
            return None
        if client.lost:
            trainer.shutdown()
            return None
        trainer.model_update_group = AbortableGroup(trainer.model_update_group)
        return trainer

    def _make_trainer(self, info: NCCLTrainerInitInfo, client: Any) -> Any:
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=self._source)
