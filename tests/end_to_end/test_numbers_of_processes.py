"""Results do not depend on the numbers of rollout actors and learner ranks."""

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from score_ray.config.loading import load
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import RunFolder
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.tasks.registry import make_task
from score_ray.training.protocols import Roles
from score_ray.training.trainer import Trainer
from score_ray.types import Task
from score_ray.weights.probe import probe_rows
from tests.support.tiny_model import PART_BYTES, Events, make_group, make_model, make_pool, on_ray

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]
CONFIG = load(
    Path("configs/arithmetic.yaml"),
    ["rollout.problems=8", "stages.0.iterations=3", "stages.1.iterations=2"],
)
ITERATIONS = 5


class Watched:
    """A pool of the first few actors of another pool; it keeps the tokens that were sampled."""

    def __init__(self, pool, count: int) -> None:
        self._pool, self.samples = copy.copy(pool), {}
        self._pool._slots = pool._slots[:count]
        self.load_weights, self.take_restarts = self._pool.load_weights, self._pool.take_restarts

    def sample(self, problems, plan):
        for episodes in self._pool.sample(problems, plan):
            for e in episodes:
                tokens = tuple(a.completion_ids for a in e.attempts)
                self.samples[plan.seed, e.problem.index, e.sample] = tokens
            yield episodes


@dataclass
class Setting:
    """The processes that all runs share."""

    folder: str
    for_ranks: list
    pool: RolloutPool
    task: Task
    grader: ProcessGrader


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = str(make_model(tmp_path_factory.mktemp("model")))
    with on_ray(num_actors=4, num_ranks=2) as (for_actors, for_ranks):
        pool = make_pool(for_actors, folder, Events())
        pool.wait_ready()
        task = make_task(CONFIG.task)
        grader = ProcessGrader(task, 1, 10.0)
        yield Setting(folder, for_ranks, pool, task, grader)
        grader.close()


def weights(group) -> dict[str, torch.Tensor]:
    import ray

    from score_ray.weights.packing import unpack

    parts = ray.get(group.packed_weights(PART_BYTES))
    return {name: tensor.clone() for part in parts for name, tensor in unpack(*part)}


def distance(ours, theirs) -> float:
    """Return the Euclidean distance over all weights."""
    return sum(float((ours[name] - theirs[name]).norm()) ** 2 for name in ours) ** 0.5


def iterate(setting, actors, group, folder):
    """Return sampled tokens and weights of five iterations, over both stages."""
    pool, problems = Watched(setting.pool, actors), setting.task.problems("train")
    rows = probe_rows([(1, 2, 10, 3, 4, 11)], 100)
    channel = WeightChannel(group, pool, rows, 1e-3, PART_BYTES)
    reporter = Reporter(RunFolder(folder), ITERATIONS, 0, quiet=True)
    roles = Roles(problems, [], problems, pool, setting.grader, group, channel, reporter)
    channel.broadcast(0)
    trainer = Trainer(roles, CONFIG, RunFolder(folder))
    with trainer.collector() as collector:
        for iteration in range(ITERATIONS):
            assert trainer.step(collector, iteration).broadcast.engines == actors
    return pool.samples, weights(group)


@pytest.fixture(scope="module")
def expected(setting, tmp_path_factory):
    """Return those of one rollout actor and one rank without ZeRO."""
    group = make_group(setting.for_ranks[:1], setting.folder, Events())
    group.wait_ready()
    expected_run = iterate(setting, 1, group, tmp_path_factory.mktemp("run"))
    group.close()
    return expected_run


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_samples_and_weights_are_the_same_with_1_2_and_4_actors(
    zero_stage, ranks, expected, setting, tmp_path
):
    samples, trained = expected
    assert len(samples) == ITERATIONS * 8 * CONFIG.rollout.samples
    group = make_group(setting.for_ranks[:ranks], setting.folder, Events(), zero_stage)
    group.wait_ready()
    group.save(tmp_path)
    base = weights(group)
    for actors in (1, 2, 4):
        group.restore(tmp_path)
        drawn, ours = iterate(setting, actors, group, tmp_path / str(actors))
        assert drawn == samples
        # Adam turns a gradient that is nothing but rounding into a full step. So single weights
        # may differ, but all of them together do not.
        moved, gap = distance(trained, base), distance(trained, ours)
        print(f"ZeRO {zero_stage}, {ranks} ranks, {actors} actors: {gap / moved:.1e}")
        assert gap <= 2e-3 * moved
    group.close()
