"""The `nccl` weight transfer: learner and engines on different GPUs, one broadcast to all.

It survives an engine that dies or hangs, before, in or after a broadcast. The loss ends the
epoch: rank 0 calls the broadcast off, and every other engine gives up within a second or two.
Its weights are then a mixture, which the next broadcast replaces; that one begins with a new
communicator. It does not survive two things. A learner rank that dies takes the learner with
it, as with any back end; the engines are free again within a second or two. And a GPU on which
NCCL cannot be aborted keeps its process, which then counts as hung.
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
    """vLLM's receiver, which can be called off.

    That sets `called_off` and does not raise: with tensor parallel, vLLM's processes answer
    out of turn for good once one of them has raised.
    """

    called_off = False

    def init_transfer_engine(self, init_info: NCCLWeightTransferInitInfo) -> None:
        """Join a new epoch's communicator.

        This does what vLLM's method does, but lets no thread that was left behind in an older
        rendezvous set anything here.
        """
        self.shutdown()
        assert init_info.master_address is not None
        assert init_info.master_port is not None
        self._rendezvous = Rendezvous(init_info.master_address, init_info.master_port)
        self.packed = init_info.packed
        self.packed_buffer_size_bytes = init_info.packed_buffer_size_bytes
        self.packed_num_buffers = init_info.packed_num_buffers
        with self._noting_call_off():
            self.model_update_group = AbortableGroup(
                join_or_give_up(self._rendezvous, lambda: self._join(init_info))
            )

    def receive_weights(self, update_info: Any) -> None:
        """Receive as vLLM does, until it is called off or the sender is gone."""
        group = self.model_update_group
        with self._noting_call_off():
            if group is None or isinstance(update_info, PackedUpdate):
                super().receive_weights(update_info)
                return
            with abort_if_called_off(self._rendezvous, group.abort):
                super().receive_weights(update_info)

    def _join(self, init_info: NCCLWeightTransferInitInfo) -> Any:
        torch.accelerator.set_device_index(self.device)  # a thread begins on the first GPU
        return worker_init_process_group(init_info, self.parallel_config)

    @contextmanager
    def _noting_call_off(self) -> Iterator[None]:
        self.called_off = False
        try:
            yield
        except PeerLost:
            self.called_off = True


class AbortableGroup:
    """One end of a communicator; once aborted, its broadcasts do nothing.

    So the sender goes through the rest of the weights in step with the ranks that it gathers
    them with, and no thread uses what another one has begun to free.
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
    """Rank 0 makes a communicator with every GPU of every engine, and broadcasts on it."""

    _rendezvous: Rendezvous | None = None

    def call_off(self) -> None:
        """Have all members give up, and abort this end."""
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
