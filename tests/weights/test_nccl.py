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
from score_ray.weights.packing import describe, named_weights, pack
from score_ray.weights.policy_source import PolicySource
from score_ray.weights.probe import mean_abs_difference
from tests.support.direct_broadcast import (
    BUFFER_BYTES,
    HOST,
    Actor,
    Threads,
    same,
    send,
    source_of,
    steps_of,
    tensors,
    without_cuda,
)
from tests.support.setups import engine_setup
from tests.support.tiny_model import make_model


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(rendezvous, "TICK", 0.05)
    # No test needs that long, but a busy machine must not cut one short.
    monkeypatch.setattr(engine_client, "SETTLE_SECONDS", 60.0)
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
    assert send(sender, both, version=7).lost == {}
    assert all(same(actor.model.got, weights) for actor in both.values())
    assert network.senders[0].sent > 2
    for actor in both.values():
        assert actor.llm.calls == ["init", "start", "update", "finish 7", "reset"]
        assert actor.vllm_engine.version == 7


def test_a_rank_that_does_not_send_goes_through_the_weights_and_calls_no_engine(network, weights):
    passes = []

    def stream():
        passes.append(1)
        yield from weights.items()

    source = source_of(weights)
    source._weights = stream
    both = actors(2)
    send(NcclSender(source, 1, HOST), both)
    assert len(passes) == 2  # one to describe them, one to take part
    assert not network.senders
    assert not any(actor.llm.calls for actor in both.values())


def test_the_same_engines_keep_their_setup_and_another_one_needs_a_new_setup(network, sender):
    both = actors(2)
    for version in (1, 2):
        send(sender, both, version=version)
        assert sender.num_setups == 1
    both["rollout actor 1"] = Actor(NcclEngine)
    to = send(sender, both, version=3)
    assert (sender.num_setups, len(network.senders), to.lost) == (2, 2, {})
    assert network.senders[0].destroyed.is_set()
    assert [actor.vllm_engine.version for actor in both.values()] == [3, 3]
    assert both["rollout actor 0"].llm.calls.count("init") == 2


@pytest.mark.slow
@pytest.mark.parametrize("step", ["link", "start_update", "receive"])
def test_an_engine_that_dies_ends_the_broadcast_for_all_and_the_next_reaches_the_others(
    step, network, sender, weights
):
    both = actors(2)
    both["rollout actor 1"].trouble[step] = lambda *args: dies()
    to = send(sender, both)
    assert to.lost == {"rollout actor 1": "the process died"}
    left = both["rollout actor 0"]
    assert left.vllm_engine.version == 0

    both["rollout actor 1"] = Actor(NcclEngine)
    to = send(sender, both)
    assert to.lost == {}
    assert all(same(actor.model.got, weights) for actor in both.values())
    assert sender.num_setups == 2
    # An update that was begun and broke off is ended before the next is begun.
    begun = (
        ["start", "update"] if step == "receive" else ["start"] if step == "start_update" else []
    )
    again = ["finish None"] if begun else []
    assert left.llm.calls == [
        "init", *begun, "init", *again, "start", "update", "finish 1", "reset",
    ]  # fmt: skip


@pytest.mark.slow
def test_after_a_loss_even_the_same_engines_are_set_up_anew(network, sender, weights):
    both = actors(2)
    both["rollout actor 1"].trouble["receive"] = lambda info: dies()
    send(sender, both)
    both["rollout actor 1"].trouble.clear()
    to = send(sender, both)
    assert (sender.num_setups, to.lost) == (2, {})
    assert all(same(actor.model.got, weights) for actor in both.values())


@pytest.mark.slow
def test_a_broadcast_that_is_stuck_in_nccl_ends_for_all_when_an_engine_dies(network, sender):
    network.stuck_at = 1
    both = actors(2)
    both["rollout actor 1"].trouble["receive"] = lambda info: dies()
    to = send(sender, both)
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
        """A clock: time is up once an engine hangs, and again when all others have answered."""

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
    to = send(sender, both, seconds=600.0)
    assert to.lost == {"rollout actor 1": "no sign of life for 600 s"}
    assert both["rollout actor 0"].transfer.called_off
    assert both["rollout actor 0"].vllm_engine.version == 0
    woken.set()


def test_an_error_that_an_engine_raises_itself_is_raised_as_it_is(network, sender):
    both = actors(2)

    def fails(info):
        raise engine_client.RayTaskError("receive", "bad shape", ValueError("bad shape"))

    both["rollout actor 1"].trouble["receive"] = fails
    with pytest.raises(engine_client.RayTaskError, match="bad shape"):
        send(sender, both)


def test_an_aborted_group_accepts_the_rest_of_the_weights_and_sends_nothing():
    class Group:
        sent = 0

        def broadcast(self, tensor, src):
            self.sent += 1

        def destroy(self):
            pass

    group = Group()
    abortable = AbortableGroup(group)
    abortable.broadcast(torch.zeros(1), src=0)
    abortable.abort()
    abortable.broadcast(torch.zeros(1), src=0)
    assert group.sent == 1


def test_a_packed_update_is_loaded_by_an_engine_that_has_no_communicator(weights):
    actor = Actor(NcclEngine)
    entries, buffer = pack(weights.items())
    actor.vllm_engine.load_weights([(entries, buffer)], version=4)
    assert same(actor.model.got, weights)
    assert actor.llm.calls == ["start", "update", "finish 4", "reset"]


def test_an_update_of_vllms_sender_is_parsed_as_vllms_own_kind():
    info = {"names": ["a"], "dtype_names": ["float32"], "shapes": [[3, 5]]}
    parsed = Actor(NcclEngine).transfer.parse_update_info(info)
    assert parsed == NCCLWeightTransferUpdateInfo(**info)


@pytest.mark.slow
def test_a_learner_rank_keeps_its_sender_and_names_the_lost_actors(network, weights, monkeypatch):
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
    engine = VllmEngine(engine_setup(str(tmp_path), backend="nccl"), [13])
    actors_by_name = {"rollout actor 0": steps_of(engine)}
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    source = PolicySource(lambda: named_weights(model), lambda: describe(model))
    sender = NcclSender(source, 0, HOST)

    network.stuck_at = 1
    to = send(sender, actors_by_name, seconds=1.0, buffer_bytes=2**16)
    assert to.lost == {"rollout actor 0": "the broadcast was called off"}
    assert engine.version == 0

    network.stuck_at = -1
    to = send(sender, actors_by_name, version=3, buffer_bytes=2**16)
    assert to.lost == {}
    assert network.senders[1].sent > 2
    rows = [(1, 2, 10, 3, 4, 11), (5, 5, 10, 3, 1, 11, 4, 4)]
    logprobs = [model(torch.tensor([row])).logits[0, :-1].log_softmax(-1) for row in rows]
    expected = [
        scores.gather(1, torch.tensor(row[1:])[:, None])[:, 0].tolist()
        for scores, row in zip(logprobs, rows, strict=True)
    ]
    assert mean_abs_difference(engine.score(rows), expected) < 1e-5
    assert engine.version == 3
