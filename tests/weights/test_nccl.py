"""The nccl back end without a GPU: vLLM's sender, packing and receiver over queues."""

import inspect
import threading
from types import SimpleNamespace

import pytest
import ray
import torch
from ray.exceptions import RayActorError
from transformers import LlamaForCausalLM
from vllm.distributed.weight_transfer.base import WeightTransferEngine
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferUpdateInfo

from score_ray.rollout.engine import VllmEngine
from score_ray.runtime import engine_client
from score_ray.runtime.actors import LearnerRank
from score_ray.runtime.engine_client import Recipients
from score_ray.weights import rendezvous
from score_ray.weights.ipc import IpcEngine
from score_ray.weights.nccl import AbortableGroup, NcclEngine, NcclSender
from score_ray.weights.object_store import ObjectStoreEngine
from score_ray.weights.packing import described, named_weights, pack
from score_ray.weights.policy_source import PolicySource
from score_ray.weights.probe import mean_abs_difference
from tests.support.direct_broadcast import (
    BUFFER_BYTES,
    HOST,
    Actor,
    Method,
    Threads,
    client_of,
    same,
    source_of,
    tensors,
    without_cuda,
)
from tests.support.setups import engine_setup
from tests.support.tiny_model import make_model


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(rendezvous, "TICK", 0.05)
    monkeypatch.setattr(
        engine_client, "SETTLE_SECONDS", 60.0
    )  # nobody takes it: others are busy too
    return without_cuda(monkeypatch)


@pytest.fixture
def weights():
    return tensors()


@pytest.fixture
def sender(weights):
    return NcclSender(source_of(weights), 0, HOST)


def actors(count: int) -> dict[str, Actor]:
    return {f"rollout actor {number}": Actor(NcclEngine) for number in range(count)}


def dies() -> None:
    raise RayActorError


@pytest.mark.parametrize("engine", [NcclEngine, IpcEngine, ObjectStoreEngine])
def test_our_engines_implement_vllms_abstract_methods_and_change_no_signature(engine):
    assert not engine.__abstractmethods__
    assert WeightTransferEngine.__abstractmethods__ == {
        "init_transfer_engine", "start_weight_update", "finish_weight_update",
        "receive_weights", "shutdown",
    }  # fmt: skip
    names = WeightTransferEngine.__abstractmethods__ | {"update_weights", "parse_update_info"}
    for name in names:
        ours = inspect.signature(getattr(engine, name)).parameters
        theirs = inspect.signature(getattr(WeightTransferEngine, name)).parameters
        assert list(ours) == list(theirs), name


def test_every_engine_gets_every_weight_bit_for_bit_in_several_buffers(network, sender, weights):
    both = actors(2)
    to = client_of(both, together=True, version=7)
    sender.send(to, BUFFER_BYTES)
    assert to.lost == {}
    assert all(same(actor.model.got, weights) for actor in both.values())
    assert network.senders[0].sent > 2
    for actor in both.values():
        assert actor.llm.calls == ["init", "start", "update", "finish 7", "reset"]
        assert actor.vllm_engine.version == 7


def test_a_rank_that_does_not_send_goes_through_the_weights_and_calls_nobody(network, weights):
    passes = []

    def stream():
        passes.append(1)
        yield from weights.items()

    source = source_of(weights)
    source._weights = stream
    both = actors(2)
    NcclSender(source, 1, HOST).send(client_of(both, together=True), BUFFER_BYTES)
    assert len(passes) == 2  # one to describe them, one to take part
    assert not network.senders
    assert not any(actor.llm.calls for actor in both.values())


def test_the_same_engines_keep_their_epoch_and_another_one_begins_a_new_epoch(network, sender):
    both = actors(2)
    for version in (1, 2):
        sender.send(client_of(both, together=True, version=version), BUFFER_BYTES)
        assert sender.epoch == 1
    both["rollout actor 1"] = Actor(NcclEngine)
    to = client_of(both, together=True, version=3)
    sender.send(to, BUFFER_BYTES)
    assert (sender.epoch, len(network.senders), to.lost) == (2, 2, {})
    assert network.senders[0].destroyed.is_set()
    assert [actor.vllm_engine.version for actor in both.values()] == [3, 3]
    assert both["rollout actor 0"].llm.calls.count("init") == 2


@pytest.mark.parametrize("step", ["link", "start_update", "receive"])
def test_an_engine_that_dies_ends_the_broadcast_for_all_and_the_next_reaches_the_others(
    step, network, sender, weights
):
    both = actors(2)
    both["rollout actor 1"].trouble[step] = lambda *args: dies()
    to = client_of(both, together=True)
    sender.send(to, BUFFER_BYTES)
    assert to.lost == {"rollout actor 1": "the process died"}
    left = both["rollout actor 0"]
    assert left.vllm_engine.version == 0

    both["rollout actor 1"] = Actor(NcclEngine)
    to = client_of(both, together=True)
    sender.send(to, BUFFER_BYTES)
    assert to.lost == {}
    assert all(same(actor.model.got, weights) for actor in both.values())
    assert sender.epoch == 2
    # An update that was begun and broke off is ended before the next is begun.
    begun = (
        ["start", "update"] if step == "receive" else ["start"] if step == "start_update" else []
    )
    again = ["finish None"] if begun else []
    assert left.llm.calls == [
        "init", *begun, "init", *again, "start", "update", "finish 1", "reset",
    ]  # fmt: skip


def test_after_a_loss_even_the_same_engines_are_a_new_epoch(network, sender, weights):
    both = actors(2)
    both["rollout actor 1"].trouble["receive"] = lambda info: dies()
    sender.send(client_of(both, together=True), BUFFER_BYTES)
    both["rollout actor 1"].trouble.clear()
    to = client_of(both, together=True)
    sender.send(to, BUFFER_BYTES)
    assert (sender.epoch, to.lost) == (2, {})
    assert all(same(actor.model.got, weights) for actor in both.values())


def test_a_broadcast_that_is_stuck_in_nccl_ends_for_all_when_an_engine_dies(network, sender):
    network.stuck_at = 1
    both = actors(2)
    both["rollout actor 1"].trouble["receive"] = lambda info: dies()
    to = client_of(both, together=True)
    sender.send(to, BUFFER_BYTES)
    assert to.lost == {"rollout actor 1": "the process died"}
    assert network.senders[0].destroyed.is_set()
    assert both["rollout actor 0"].transfer.called_off
    assert both["rollout actor 0"].vllm_engine.version == 0


def test_a_broadcast_that_is_stuck_in_nccl_ends_for_all_when_the_time_is_up(
    network, sender, monkeypatch
):
    network.stuck_at = 1
    both, hangs, woken = actors(2), threading.Event(), threading.Event()
    both["rollout actor 1"].trouble["receive"] = lambda info: (hangs.set(), woken.wait(60))

    class Clock(Threads):
        """The time is up as soon as an engine hangs, and again when all others have answered."""

        @staticmethod
        def wait(refs, num_returns, timeout=None):
            done, waiting = Threads.wait(refs, num_returns, timeout=0.01)
            while not done:
                called_off = network.senders and network.senders[0].destroyed.is_set()
                if hangs.is_set() and (not called_off or len(refs) == 1):
                    break
                done, waiting = Threads.wait(refs, num_returns, timeout=0.01)
            return done, waiting

    monkeypatch.setattr(engine_client, "ray", Clock)
    to = client_of(both, together=True, seconds=600.0)
    sender.send(to, BUFFER_BYTES)
    assert to.lost == {"rollout actor 1": "no sign of life for 600 s"}
    assert both["rollout actor 0"].transfer.called_off
    assert both["rollout actor 0"].vllm_engine.version == 0
    woken.set()


def test_an_engines_own_error_is_raised_as_it_is(network, sender):
    both = actors(2)

    def fails(info):
        raise engine_client.RayTaskError("receive", "bad shape", ValueError("bad shape"))

    both["rollout actor 1"].trouble["receive"] = fails
    with pytest.raises(engine_client.RayTaskError, match="bad shape"):
        sender.send(client_of(both, together=True), BUFFER_BYTES)


def test_an_aborted_line_takes_what_is_still_to_be_sent_and_sends_nothing():
    class Group:
        sent = 0

        def broadcast(self, tensor, src):
            self.sent += 1

        def destroy(self):
            pass

    group = Group()
    line = AbortableGroup(group)
    line.broadcast(torch.zeros(1), src=0)
    line.abort()
    line.broadcast(torch.zeros(1), src=0)
    assert group.sent == 1


def test_a_packed_update_is_loaded_by_an_engine_that_has_no_communicator(weights):
    actor = Actor(NcclEngine)
    entries, buffer = pack(weights.items())
    actor.vllm_engine.load_weights([(entries, buffer)], version=4)
    assert same(actor.model.got, weights)
    assert actor.llm.calls == ["start", "update", "finish 4", "reset"]


def test_what_vllms_sender_tells_of_an_update_is_parsed_as_its_own_kind():
    info = {"names": ["a"], "dtype_names": ["float32"], "shapes": [[3, 5]]}
    found = Actor(NcclEngine).transfer.parse_update_info(info)
    assert found == NCCLWeightTransferUpdateInfo(**info)


def test_a_learner_rank_keeps_its_sender_and_tells_who_was_lost(network, weights, monkeypatch):
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: HOST)
    rank = LearnerRank(None, 0, 1)
    rank._learner = SimpleNamespace(source=lambda: source_of(weights))
    both = actors(2)
    for version in (1, 2):
        assert rank.send("nccl", Recipients(both, 1, version), BUFFER_BYTES, 20.0) == {}
    assert len(network.senders) == 1
    assert all(same(actor.model.got, weights) for actor in both.values())
    both["rollout actor 1"].trouble["receive"] = lambda info: dies()
    lost = rank.send("nccl", Recipients(both, 1, 3), BUFFER_BYTES, 20.0)
    assert lost == {"rollout actor 1": "the process died"}
    assert [actor.vllm_engine.version for actor in both.values()] == [2, 2]


@pytest.mark.ray
@torch.no_grad()
def test_a_real_engine_serves_what_vllms_sender_sends_after_a_broadcast_that_broke_off(
    network, tmp_path
):
    model = LlamaForCausalLM.from_pretrained(make_model(tmp_path))
    options = engine_setup(str(tmp_path), backend="nccl")
    engine = VllmEngine(options, [13])
    actor = SimpleNamespace(engine=Method(lambda name, *args: getattr(engine, name)(*args)))
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    source = PolicySource(lambda: named_weights(model), lambda: described(model))
    sender = NcclSender(source, 0, HOST)

    network.stuck_at = 1
    to = client_of({"rollout actor 0": actor}, together=True, seconds=1.0)
    sender.send(to, 2**16)
    assert to.lost == {"rollout actor 0": "the broadcast was called off"}
    assert engine.version == 0

    network.stuck_at = -1
    to = client_of({"rollout actor 0": actor}, together=True, version=3)
    sender.send(to, 2**16)
    assert to.lost == {}
    assert network.senders[1].sent > 2
    rows = [(1, 2, 10, 3, 4, 11), (5, 5, 10, 3, 1, 11, 4, 4)]
    logprobs = [model(torch.tensor([row])).logits[0, :-1].log_softmax(-1) for row in rows]
    expected = [
        found.gather(1, torch.tensor(row[1:])[:, None])[:, 0].tolist()
        for found, row in zip(logprobs, rows, strict=True)
    ]
    assert mean_abs_difference(engine.score(rows), expected) < 1e-5
    assert engine.version == 3
