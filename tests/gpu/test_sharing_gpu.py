"""An engine and a learner rank on one GPU, whose memory goes from one to the other and back."""

import pytest
import ray
import torch

from score_ray.runtime.learner_group import LearnerGroup
from score_ray.types import SamplingPlan
from score_ray.weights.backend import IPC, OBJECT_STORE
from tests.support.gpu_processes import BOUND, MARKS, START, on_gpus
from tests.support.tiny_model import ADVANTAGES, PROBLEMS, ROWS, make_model

pytestmark = MARKS
ENGINE_SHARE = 0.6  # of the GPU's memory: nearly all of it is the cache of so small a model
LEFT_OVER = 0.15  # of the GPU's memory: the most that processes keep after they have left
PLAN = SamplingPlan(seed=1, samples=2, attempts=2, max_tokens=4, temperature=1.0)


def used(group: LearnerGroup) -> float:
    """Return the share of the GPU's memory that is in use by any process."""
    call = group._ranks["learner rank 0"].__ray_call__
    free, total = ray.get(call.remote(lambda _: torch.cuda.mem_get_info()), timeout=START)
    return 1 - free / total


@pytest.mark.parametrize("backend", [OBJECT_STORE, IPC])
def test_two_iterations_on_one_gpu_serve_every_update_and_leave_the_memory(backend, tmp_path):
    folder = str(make_model(tmp_path))
    with on_gpus(backend, folder, shared=True, gpu_memory=ENGINE_SHARE) as ends:
        group, learner, channel = ends.group, ends.learner, ends.channel
        assert used(group) < LEFT_OVER  # the engine has started and left before the ranks came
        assert channel.broadcast(0).mismatch < BOUND
        for version in (1, 2):
            episodes = [e for part in ends.engines.sample(PROBLEMS, PLAN) for e in part]
            assert {a.version for e in episodes for a in e.attempts} == {version - 1}
            assert used(group) > 0.8 * ENGINE_SHARE
            sums = learner.reference_sums(ROWS, 2)
            assert used(group) < LEFT_OVER
            learner.update(ROWS, ADVANTAGES, version - 1)
            assert channel.broadcast(version).mismatch < BOUND
            # The reference is as it was, after the learner has left the GPU and come back.
            assert abs(learner.reference_sums(ROWS, 2) - sums).max() < 1e-6


def test_weights_outlive_an_engines_sleep_without_a_broadcast(tmp_path):
    folder = str(make_model(tmp_path))
    with on_gpus(IPC, folder, shared=True, gpu_memory=ENGINE_SHARE) as ends:
        ends.channel.broadcast(0)
        greedy = SamplingPlan(seed=1, samples=1, attempts=2, max_tokens=4, temperature=0.0)
        drawn = []
        for _ in range(2):
            episodes = [e for part in ends.engines.sample(PROBLEMS, greedy) for e in part]
            drawn.append({e.problem.index: e.token_ids for e in episodes})
            ends.learner.reference_sums(ROWS, 2)
        assert drawn[0] == drawn[1]
