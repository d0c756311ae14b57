"""An engine and a learner rank on one GPU: its memory goes from one to the other and back."""

import functools
from contextlib import contextmanager

import pytest
import ray
import torch
from tiny import ADVANTAGES, PART_BYTES, PROBE, PROBLEMS, RATE, ROWS, START, Events, make_model

from score_ray.inputs import load_prompter
from score_ray.options import EngineOptions, LearnerOptions
from score_ray.placement.calls import Calls, Retries
from score_ray.placement.channel import Channel
from score_ray.placement.cluster import places
from score_ray.placement.group import LearnerGroup
from score_ray.placement.plan import Ask, sharing
from score_ray.placement.pool import RolloutPool
from score_ray.placement.turns import Turns
from score_ray.prompts import Prompts
from score_ray.types import LearnerLost, SamplingPlan
from score_ray.weights.choice import IPC, OBJECT_STORE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.ray,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
DTYPE = "bfloat16"
BOUND = 0.05  # nats on average, between bfloat16 kernels of two kinds
ENGINE_SHARE = 0.6  # of the GPU's memory, nearly all of it for the cache of so small a model
LEFT_OVER = 0.15  # of the GPU's memory: what processes keep that have left it
PLAN = SamplingPlan(seed=1, samples=2, attempts=2, max_tokens=4, temperature=1.0)


@contextmanager
def on_one_gpu(folder: str, backend: str):
    """Pool, learner and channel as the loop has them, and the ranks themselves."""
    engine = EngineOptions(
        folder, DTYPE, 32, 64, 2**27, gpu_memory=ENGINE_SHARE, backend=backend, sleeps=True
    )
    make = engine, functools.partial(load_prompter, folder, Prompts("{question}", "?"))
    options = LearnerOptions(folder, DTYPE, 1.0, 0, RATE, 0, 1.0, 1, 0.0, 1e9)
    asks = [sharing(Ask("rollout actor", 1), Ask("learner rank", 1))]
    with places(asks, patience=0.0, deadline=START) as (for_actors, for_ranks):
        pool = RolloutPool(for_actors, make, Calls(START, 60.0), Retries(3), Events())
        pool.sleep()
        calls = Calls(START, 60.0, LearnerLost)
        group = LearnerGroup(for_ranks, options, 4096, calls, Retries(3), Events())
        group.wait_ready()
        turns = Turns(pool, group, handed_over=backend == IPC)
        channel = Channel(
            turns.learner, turns.pool, PROBE, BOUND, PART_BYTES, backend, keep_packed=True
        )
        yield turns.pool, turns.learner, channel, group


def used(group: LearnerGroup) -> float:
    """The share of the GPU's memory that is in use, whoever uses it."""
    ask = group._ranks["learner rank 0"].__ray_call__
    free, total = ray.get(ask.remote(lambda _: torch.cuda.mem_get_info()), timeout=START)
    return 1 - free / total


@pytest.mark.parametrize("backend", [OBJECT_STORE, IPC])
def test_two_iterations_on_one_gpu_serve_what_was_learned_and_leave_the_memory(backend, tmp_path):
    with on_one_gpu(str(make_model(tmp_path)), backend) as (pool, learner, channel, group):
        assert used(group) < LEFT_OVER  # the engine has started and left before the ranks came
        assert channel.broadcast(0)["mismatch/logp_mean_abs"] < BOUND
        for version in (1, 2):
            found = [e for part in pool.sample(PROBLEMS, PLAN) for e in part]
            assert {a.version for e in found for a in e.attempts} == {version - 1}
            assert used(group) > 0.8 * ENGINE_SHARE
            sums = learner.reference_sums(ROWS, 2)
            assert used(group) < LEFT_OVER
            learner.update(ROWS, ADVANTAGES, version - 1)
            assert channel.broadcast(version)["mismatch/logp_mean_abs"] < BOUND
            # The reference is as it was, after the learner has left the GPU and come back.
            assert abs(learner.reference_sums(ROWS, 2) - sums).max() < 1e-6


def test_weights_outlive_an_engines_sleep_without_a_broadcast(tmp_path):
    with on_one_gpu(str(make_model(tmp_path)), IPC) as (pool, learner, channel, _):
        channel.broadcast(0)
        greedy = SamplingPlan(seed=1, samples=1, attempts=2, max_tokens=4, temperature=0.0)
        drawn = []
        for _ in range(2):
            found = [e for part in pool.sample(PROBLEMS, greedy) for e in part]
            drawn.append({e.problem.index: e.token_ids for e in found})
            learner.reference_sums(ROWS, 2)
        assert drawn[0] == drawn[1]
