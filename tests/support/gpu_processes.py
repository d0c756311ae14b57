"""A tiny model's engines and learner on real GPUs, on different ones or on the same ones."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch

from score_ray.rollout.prompter import load_prompter
from score_ray.runtime.colocation import GpuSharing, MakeRoom
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.placement import placements
from score_ray.runtime.remote_calls import RemoteCalls, Retries
from score_ray.runtime.resources import ResourceRequest
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.tasks.prompts import Prompts
from score_ray.types import LearnerLost
from score_ray.weights.backend import IPC
from tests.support.setups import engine_setup, learner_setup
from tests.support.tiny_model import PART_BYTES, PROBE, Events

MARKS = [
    pytest.mark.gpu,
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
DTYPE = "bfloat16"
START = 600.0  # seconds to compile kernels and to capture graphs in
BOUND = 0.05  # nats on average, between bfloat16 kernels of two kinds


class Ends(NamedTuple):
    """A pool and a learner group, and `engines` and `learner`, which the trainer calls.

    The latter are the wrappers of colocation where both roles share GPUs, else the same objects.
    """

    pool: RolloutPool
    group: LearnerGroup
    engines: Any
    learner: Any
    channel: WeightChannel


@contextmanager
def on_gpus(
    backend: str,
    folder: str,
    shared: bool,
    num_actors: int = 1,
    zero_stage: int = 0,
    gpu_memory: float = 0.3,
) -> Iterator[Ends]:
    """Yield engines and a learner rank that have started, before the first broadcast."""
    setup = engine_setup(
        folder, dtype=DTYPE, gpu_memory=gpu_memory, backend=backend, share_gpus=shared
    )
    actor_args = setup, functools.partial(load_prompter, folder, Prompts("{question}", "?"))
    learner_settings = learner_setup(folder, dtype=DTYPE, zero_stage=zero_stage)
    ranks, events = ResourceRequest("learner rank", 1), Events()
    actors = ResourceRequest("rollout actor", num_actors, colocated=ranks if shared else None)
    requests = [actors] if shared else [actors, ranks]
    with placements(requests, patience=0.0, deadline=START) as (for_actors, for_ranks):

        def start_pool(make_room: MakeRoom = lambda: None) -> RolloutPool:
            calls = RemoteCalls(START, 30.0)
            return RolloutPool(for_actors, actor_args, calls, Retries(3), events, make_room)

        def start_learner() -> LearnerGroup:
            calls = RemoteCalls(START, 30.0, LearnerLost)
            return LearnerGroup(for_ranks, learner_settings, calls, Retries(3), events)

        if shared:
            sharing = GpuSharing(start_pool, start_learner, direct=backend == IPC)
            pool, group = sharing._engines, sharing._ranks
            engines, learner = sharing.pool, sharing.learner
        else:
            pool, group = engines, learner = start_pool(), start_learner()
        pool.wait_ready()
        group.wait_ready()
        channel = WeightChannel(learner, engines, PROBE, BOUND, PART_BYTES, backend, shared)
        yield Ends(pool, group, engines, learner, channel)
