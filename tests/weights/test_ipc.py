"""The ipc back end without a GPU: vLLM's sender, packing and receiver, with real memory."""

from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import RayActorError
from vllm.distributed.weight_transfer import ipc_engine, packed_tensor
from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferInitInfo

from score_ray.weights.ipc import IpcEngine, IpcSender
from score_ray.weights.packing import pack
from tests.support.direct_broadcast import (
    HOST,
    Actor,
    Stream,
    same,
    send,
    source_of,
    tensors,
)
from tests.support.direct_broadcast import without_cuda as replace_cuda

GPU = "GPU-0"


@pytest.fixture
def buffers(monkeypatch):
    """Return the buffers that are handed over, without mapping them into other processes."""
    replace_cuda(monkeypatch)
    made = []
    empty = torch.empty

    def share(buffer):
        made.append(buffer)
        return None, (len(made) - 1, 0, 0, 0, 0, 0, 0)

    def on_cpu(*size, device=None, **kwargs):
        return empty(*size, **kwargs)

    monkeypatch.setattr(packed_tensor, "torch", Torch(empty=on_cpu))
    monkeypatch.setattr(packed_tensor, "reduce_tensor", share)
    monkeypatch.setattr(
        packed_tensor.PackedBufferImporter, "rebuild", lambda self, args: made[args[0]]
    )
    properties = SimpleNamespace(uuid=GPU)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "ipc_collect", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream())
    return made


class Torch:
    """torch, with some functions replaced."""

    def __init__(self, **replaced):
        self.__dict__ |= replaced

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture
def weights():
    return tensors()


@pytest.fixture
def sender(weights):
    return IpcSender(source_of(weights), 0, HOST)


def actors(count: int) -> dict[str, Actor]:
    return {f"rollout actor {number}": Actor(IpcEngine) for number in range(count)}


def test_every_engine_gets_every_weight_bit_for_bit_through_one_buffer(buffers, sender, weights):
    both = actors(2)
    assert send(sender, both, version=7).lost == {}
    assert all(same(actor.model.got, weights) for actor in both.values())
    assert len(buffers) == 1
    for actor in both.values():
        assert actor.llm.calls[:3] == ["init", "start", "update"]
        assert actor.llm.calls[-3:] == ["update", "finish 7", "reset"]
        assert actor.vllm_engine.version == 7


def test_the_buffer_has_room_for_the_largest_weight(buffers, sender):
    send(sender, actors(1))
    assert [buffer.numel() for buffer in buffers] == [4 * 2 * 3 * 4]


@pytest.mark.parametrize("step", ["link", "start_update", "receive", "finish_update"])
def test_an_engine_that_dies_is_named_and_the_others_get_all(step, buffers, sender, weights):
    def dies(*args):
        raise RayActorError

    both = actors(2)
    both["rollout actor 1"].trouble[step] = dies
    assert send(sender, both, version=2).lost == {"rollout actor 1": "the process died"}
    assert same(both["rollout actor 0"].model.got, weights)
    assert both["rollout actor 0"].vllm_engine.version == 2


def test_the_same_engines_keep_their_setup_and_a_loss_ends_it(buffers, sender):
    both = actors(2)
    for version in (1, 2):
        send(sender, both, version=version)
    assert sender.num_setups == 1
    both["rollout actor 1"] = Actor(IpcEngine)
    send(sender, both, version=3)
    assert sender.num_setups == 2
    assert both["rollout actor 1"].vllm_engine.version == 3


def test_a_packed_update_is_loaded_before_the_engine_is_linked_to_a_learner(weights):
    actor = Actor(IpcEngine)
    actor.vllm_engine.load_weights([pack(weights.items())], version=4)
    assert same(actor.model.got, weights)


def test_setup_and_updates_of_vllms_sender_are_parsed_as_vllms_own_kinds():
    transfer = Actor(IpcEngine).transfer
    assert transfer.parse_init_info({"packed": True}) == IPCWeightTransferInitInfo(packed=True)
    info = {
        "names": ["a"], "dtype_names": ["float32"], "shapes": [[1]],
        "ipc_handles": {GPU: ()}, "tensor_sizes": [4],
    }  # fmt: skip
    assert isinstance(transfer.parse_update_info(info), ipc_engine.IPCWeightTransferUpdateInfo)
