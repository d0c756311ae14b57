"""The `nccl` weight transfer: learner and engines on different GPUs, one broadcast to all.

What it survives: an engine that dies or hangs, before, in or after a broadcast. Its loss ends
the epoch: rank 0 calls the broadcast off, every other engine gives up within a second or two
with its weights in a mixture that the next broadcast replaces, and that one begins with a new
communicator. What it does not: a learner rank that dies takes the learner with it, as with any
back end (the engines are free again within a second or two), and a GPU on which NCCL cannot be
aborted keeps its process, which then counts as hung.
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
from score_ray.weights.object_store import TakesPacked, UpdateInfo
from score_ray.weights.rendezvous import Meeting, meet, watched
from score_ray.weights.sender import EngineCalls, Sender


class NcclEngine(TakesPacked, NCCLWeightTransferEngine):
    """vLLM's receiver, which can be called off.

    That is noted, not raised: with tensor parallel, vLLM's processes answer out of turn for
    good once one of them has raised.
    """

    called_off = False

    def init_transfer_engine(self, init_info: NCCLWeightTransferInitInfo) -> None:
        """Join a new epoch's communicator.

        As vLLM's, but a thread that was left behind in it must not set anything here.
        """
        self.shutdown()
        assert init_info.master_address is not None
        assert init_info.master_port is not None
        self._meeting = Meeting(init_info.master_address, init_info.master_port)
        self.packed = init_info.packed
        self.packed_buffer_size_bytes = init_info.packed_buffer_size_bytes
        self.packed_num_buffers = init_info.packed_num_buffers
        with self._noted():
            self.model_update_group = AbortableGroup(
                meet(self._meeting, lambda: self._join(init_info))
            )

    def receive_weights(self, update_info: Any) -> None:
        """As vLLM's, until it is called off or the sender is gone."""
        group = self.model_update_group
        with self._noted():
            if group is None or isinstance(update_info, UpdateInfo):
                super().receive_weights(update_info)
                return
            with watched(self._meeting, group.abort):
                super().receive_weights(update_info)

    def _join(self, init_info: NCCLWeightTransferInitInfo) -> Any:
        torch.accelerator.set_device_index(self.device)  # a thread begins on the first GPU
        return worker_init_process_group(init_info, self.parallel_config)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        self.called_off = False
        try:
            yield
        except PeerLost:
            self.called_off = True


class AbortableGroup:
    """One end of a communicator: aborted, it goes through the rest of the weights and does nothing.

    So the sender stays in step with the ranks it gathers them with, and nobody uses what another
    thread has begun to free.
    """

    def __init__(self, group: Any) -> None:
        self._group, self._aborted = group, False

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        """Send a buffer to everyone, or receive it."""
        if self._aborted:
            return
        try:
            self._group.broadcast(tensor, src=src)
        except RuntimeError:
            if not self._aborted:
                raise

    def abort(self) -> None:
        """End what is under way, from another thread."""
        self._aborted = True
        self._group.destroy()

    destroy = abort


class NcclSender(Sender):
    """Rank 0 makes a communicator with every GPU of every engine, and broadcasts on it."""

    _meeting: Meeting | None = None

    def _open(self, client: EngineCalls, buffer_bytes: int) -> Any:
        meeting = Meeting(self._host, get_open_port())
        info = NCCLTrainerInitInfo(
            master_address=meeting.host,
            master_port=meeting.port,
            world_size=1 + client.workers,
            packed_buffer_size_bytes=buffer_bytes,
            rank=self._rank,
        )
        if not info.is_sender:
            return self._trainer_of(info, client)
        self._meeting = meeting
        try:
            trainer = meet(meeting, lambda: self._trainer_of(info, client))
        except PeerLost:
            return None
        if client.lost:
            trainer.shutdown()
            return None
        trainer.model_update_group = AbortableGroup(trainer.model_update_group)
        return trainer

    def _trainer_of(self, info: NCCLTrainerInitInfo, client: Any) -> Any:
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=self._source)

    def _call_off(self) -> None:
        if self._meeting:
            self._meeting.call_off()
        if self._trainer is not None:
            self._trainer.model_update_group.abort()
