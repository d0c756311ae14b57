"""The three weight-transfer back ends on real GPUs: an engine holds the weights that were sent.

object_store and nccl need two GPUs, ipc one, and surviving a loss needs three.
"""

import os
import signal

import pytest
import ray
import torch

from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.types import SamplingPlan
from score_ray.weights.packing import unpack
from tests.support.gpu_processes import BOUND, MARKS, on_gpus
from tests.support.tiny_model import ADVANTAGES, PART_BYTES, PROBLEMS, ROWS, make_model

pytestmark = MARKS
# Weights that vLLM does not fuse with others.
NAMES = ("model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight", "model.norm.weight")


def needs(count: int) -> None:
    if torch.cuda.device_count() < count:
        pytest.skip(f"needs {count} GPUs")


def held(worker) -> dict[str, torch.Tensor]:
    """Return some of the weights that a vLLM worker serves from; runs in its process."""
    weights = dict(worker.get_model().named_parameters())
    return {name: weights[name].detach().cpu() for name in NAMES}


def served(pool: RolloutPool, number: int) -> dict[str, torch.Tensor]:
    ref = pool._slots[number].actor.run.remote(lambda e: e._llm.collective_rpc(held)[0])
    return ray.get(ref, timeout=60)


def sent(learner) -> dict[str, torch.Tensor]:
    parts = ray.get(list(learner.packed_weights(PART_BYTES)), timeout=60)
    return {name: tensor for part in parts for name, tensor in unpack(*part)}


def equal(pool: RolloutPool, learner, number: int = 0) -> bool:
    theirs = served(pool, number)  # first: on shared GPUs the next line makes engines leave
    ours = sent(learner)
    # vLLM pads the vocabulary with further rows.
    return all(torch.equal(theirs[n][: len(ours[n])], ours[n]) for n in NAMES)


@pytest.mark.parametrize("zero_stage", [0, 3])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("backend", ["object_store", "nccl", "ipc"])
def test_an_engine_holds_bit_for_bit_what_each_back_end_sent(backend, tied, zero_stage, tmp_path):
    shared = backend == "ipc"
    needs(1 if shared else 2)
    folder = str(make_model(tmp_path, tied))
    with on_gpus(backend, folder, shared, zero_stage=zero_stage) as ends:
        ends.channel.broadcast(0)
        for version in (1, 2):  # the second with the same setup
            ends.learner.update(ROWS, ADVANTAGES, version - 1)
            assert ends.channel.broadcast(version).mismatch < BOUND
            assert equal(ends.pool, ends.learner)
        plan = SamplingPlan(seed=1, samples=2, attempts=2, max_tokens=4, temperature=1.0)
        episodes = [e for part in ends.engines.sample(PROBLEMS, plan) for e in part]
        assert len(episodes) == 2 * len(PROBLEMS)
        assert {a.version for e in episodes for a in e.attempts} == {2}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_receiver_that_is_lost_is_replaced_and_the_others_get_the_broadcast(how, tmp_path):
    needs(3)
    with on_gpus("nccl", str(make_model(tmp_path)), shared=False, num_actors=2) as ends:
        pool, learner, channel = ends.pool, ends.learner, ends.channel
        channel.broadcast(0)
        channel.broadcast(0)  # twice: the first call of a kind has a long deadline
        actor = pool._slots[1].actor
        pid = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=60)
        learner.update(ROWS, ADVANTAGES, 0)
        os.kill(pid, how)
        assert channel.broadcast(1).engines == 1
        pool.wait_ready()
        assert equal(pool, learner, 0)
        assert equal(pool, learner, 1)
        learner.update(ROWS, ADVANTAGES, 0)
        assert channel.broadcast(2).engines == 2
        assert equal(pool, learner, 1)
        assert pool.take_restarts() == 1
