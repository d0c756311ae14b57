"""Engines and ranks that share GPUs which do not exist: Ray is made to believe in them."""

import json
import os
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import ray

from score_ray.runtime.actors import LearnerRank, RolloutActor
from score_ray.runtime.colocation import GpuSharing
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.placement import Placement, placements
from score_ray.runtime.resources import ResourceRequest
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.types import LearnerLost, SamplingPlan
from tests.support.tiny_model import (
    ADVANTAGES,
    PART_BYTES,
    PROBE,
    PROBLEMS,
    ROWS,
    START,
    Events,
    make_group,
    make_model,
    make_pool,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("private_ray")]


def shared(num_actors: int, tensor_parallel: int) -> ResourceRequest:
    ranks = ResourceRequest("learner rank", num_actors * tensor_parallel)
    return ResourceRequest("rollout actor", num_actors, tensor_parallel, colocated=ranks)


@pytest.fixture
def where(monkeypatch):
    """Placements on four GPUs: of two engines with one GPU and one with two, and of their ranks."""
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", json.dumps({"CPU": 2, "GPU": 4}))
    with placements([shared(2, 1), shared(1, 2)], patience=0.0, deadline=START) as reserved:
        yield reserved


def visible(processes: Sequence) -> list[str]:
    """Return the GPUs that each of these processes may use; "" where none were set."""
    refs = [
        process.__ray_call__.remote(lambda _: os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        for process in processes
    ]
    return ray.get(refs, timeout=START)


_without_engine_and_learner = lambda _: sys.modules.update(  # noqa: E731 - travels by value
    {"score_ray.rollout.engine": None, "score_ray.learner.learner": None}
)


def started(where: Sequence[Placement], role: type) -> list:
    """Return processes that got their GPUs before they would have used them."""
    args = [None, None, *[1] * (role is LearnerRank)]
    processes = [placement.start(role, *args) for placement in where]
    assert visible(processes) == [""] * len(where)
    for process, placement in zip(processes, where, strict=True):
        ray.get(process.__ray_call__.remote(_without_engine_and_learner), timeout=START)
        begin = process.join if role is RolloutActor else process.start
        with pytest.raises(ImportError):
            ray.get(begin.remote(None, placement.visible_gpus()), timeout=START)
    return processes


def test_an_engine_uses_the_gpus_of_its_ranks_whoever_dies(where):
    for_actors, for_ranks = [*where[0], *where[2]], [*where[1], *where[3]]
    actors, ranks = started(for_actors, RolloutActor), started(for_ranks, LearnerRank)
    of_ranks = visible(ranks)
    assert sorted(of_ranks) == ["0", "1", "2", "3"]
    of_actors = [of_ranks[0], of_ranks[1], f"{of_ranks[2]},{of_ranks[3]}"]
    assert visible(actors) == of_actors

    for process in (actors[2], ranks[0], ranks[3]):
        ray.kill(process)
    assert visible(started(for_actors[2:], RolloutActor)) == of_actors[2:]
    new = started([for_ranks[0], for_ranks[3]], LearnerRank)
    assert visible(new) == [of_ranks[0], of_ranks[3]]


def has_left(group: LearnerGroup) -> bool:
    """Return whether the rank holds no memory, so that no call but `wake` would work."""
    ask = group._ranks["learner rank 0"].__ray_call__
    return ray.get(ask.remote(lambda rank: rank._learner.is_asleep), timeout=START)


@pytest.fixture
def one_gpu(monkeypatch):
    """Placements of an engine and a rank on a GPU that does not exist: both work on the CPU."""
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", json.dumps({"CPU": 2, "GPU": 1}))
    with placements([shared(1, 1)], patience=0.0, deadline=START) as reserved:
        yield reserved


def test_a_real_engine_and_a_real_learner_share_a_gpu_whoever_dies(one_gpu, tmp_path):
    folder, events = make_model(tmp_path / "model"), Events()
    sharing = GpuSharing(
        lambda make_room: make_pool(one_gpu[0], folder, events, make_room=make_room),
        lambda: make_group(one_gpu[1], folder, events),
        direct=False,
    )
    pool, group = sharing._engines, sharing._ranks
    group.wait_ready()
    channel = WeightChannel(
        sharing.learner, sharing.pool, PROBE, 1e-3, PART_BYTES, keep_packed=True
    )
    plan = SamplingPlan(seed=1, samples=2, attempts=2, max_tokens=4, temperature=1.0)

    channel.broadcast(0)
    before = sharing.learner.reference_sums(ROWS, 2)
    sharing.learner.save(tmp_path / "saved")
    for version in (1, 2):
        sharing.learner.update(ROWS, ADVANTAGES, version - 1)
        assert channel.broadcast(version).mismatch < 1e-5
        ray.kill(pool._slots[0].actor)
        episodes = [e for part in sharing.pool.sample(PROBLEMS, plan) for e in part]
        assert {a.version for e in episodes for a in e.attempts} == {version}
        assert has_left(group)
        np.testing.assert_array_equal(sharing.learner.reference_sums(ROWS, 2), before)
        assert not has_left(group)
    assert pool.take_restarts() == 2

    ray.kill(pool._slots[0].actor)
    ray.kill(group._ranks["learner rank 0"])
    with pytest.raises(LearnerLost) as caught:
        sharing.learner.update(ROWS, ADVANTAGES, 2)
    sharing.learner.restart(caught.value)
    sharing.learner.restore(tmp_path / "saved")
    assert channel.broadcast(0).mismatch < 1e-5
    assert pool.take_restarts() == 1


def test_without_gpus_every_process_has_a_placement_that_it_does_not_share():
    with placements([shared(2, 1)], patience=0.0, deadline=START) as (for_actors, for_ranks):
        everywhere = [*for_actors, *for_ranks]
        assert len({placement.bundle for placement in everywhere}) == 4
        assert not any(where.shared or where.visible_gpus() for where in everywhere)
