"""A tiny model's engines and learner on real GPUs, apart or in turns on the same ones."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch

from score_ray.rollout.prompter import load_prompter
from score_ray.runtime.colocation import Turns
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.placement import places
from score_ray.runtime.remote_calls import Calls, Retries
from score_ray.runtime.resources import Ask, sharing
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
    """Both ends as they are, and as the loop has them: in turns where they share GPUs."""

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
    """Engines and one rank that are ready; nothing has been broadcast yet."""
    setup = engine_setup(
        folder, dtype=DTYPE, gpu_memory=gpu_memory, backend=backend, share_gpus=shared
    )
    make = setup, functools.partial(load_prompter, folder, Prompts("{question}", "?"))
    learner = learner_setup(folder, dtype=DTYPE, zero_stage=zero_stage)
    actors, ranks = Ask("rollout actor", num_actors), Ask("learner rank", 1)
    asks, tell = [sharing(actors, ranks)] if shared else [actors, ranks], Events()
    with places(asks, patience=0.0, deadline=START) as (for_actors, for_ranks):
        pool = RolloutPool(for_actors, make, Calls(START, 30.0), Retries(3), tell)
        pool.wait_ready()
        if shared:
            pool.sleep()
        group = LearnerGroup(for_ranks, learner, Calls(START, 30.0, LearnerLost), Retries(3), tell)
        group.wait_ready()
        turns = Turns(pool, group, handed_over=backend == IPC) if shared else None
        engines, speaker = (turns.pool, turns.learner) if turns else (pool, group)
        channel = WeightChannel(speaker, engines, PROBE, BOUND, PART_BYTES, backend, shared)
        yield Ends(pool, group, engines, speaker, channel)
