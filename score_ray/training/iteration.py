"""The parts of an iteration: its problems, its sampling plan, and the order of its episodes.

They are functions of the config, the seed and the iteration number, so that a resumed run, or one
with another number of actors, samples the same episodes.
"""

import time
from collections.abc import Sequence

import numpy as np

from score_ray.config.config import Config
from score_ray.rollout.episodes import derive_seed
from score_ray.training.failed_measurements import refuse_failed_evaluation
from score_ray.training.mixture import NO_WEIGHTS, Weights, draw_mixture
from score_ray.training.protocols import EpisodeGrader, EpisodeSampler
from score_ray.types import GradedEpisode, Problem, RunError, SamplingPlan


class RolloutError(RunError):
    """Rollout actors that returned other episodes than the requested ones."""


class Clock:
    """Seconds per phase of one iteration."""

    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Add the time since the last lap to a phase, which may have several laps."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def done(self) -> dict[str, float]:
        """Return the seconds of all phases, and under "iteration" those since the start."""
        return {**self.seconds, "iteration": time.perf_counter() - self.start}


def draw(
    problems: Sequence[Problem],
    count: int,
    seed: int,
    iteration: int,
    weights: Weights = NO_WEIGHTS,
) -> list[Problem]:
    """Return the problems of an iteration; with weights, of several data sets (mixture.py).

    Within an epoch no problem comes twice, and every epoch has its own order. Problems at the end
    of an epoch that do not fill an iteration are left out of that epoch.
    """
    if weights:
        return draw_mixture(problems, weights, count, seed, iteration)
    epoch, number = divmod(iteration, len(problems) // count)
    order = np.random.default_rng(derive_seed(seed, epoch)).permutation(len(problems))
    return [problems[i] for i in order[number * count : (number + 1) * count]]


def training_plan(config: Config, iteration: int) -> SamplingPlan:
    """Return the sampling settings of an iteration; every iteration has its own seed."""
    return SamplingPlan(
        seed=derive_seed(config.seed, iteration),
        samples=config.rollout.samples,
        attempts=config.rollout.attempts,
        max_tokens=config.rollout.max_tokens,
        temperature=config.rollout.temperature,
    )


def evaluate(
    pool: EpisodeSampler, grader: EpisodeGrader, problems: Sequence[Problem], config: Config
) -> list[GradedEpisode]:
    """Sample a greedy episode of every problem; return the graded episodes.

    Raises RunError if all measurements of an attempt failed.
    """
    plan = SamplingPlan(
        seed=config.seed,
        samples=1,
        attempts=config.evaluated_attempts,
        max_tokens=config.rollout.max_tokens,
        temperature=0.0,
    )
    for episodes in pool.sample(problems, plan):
        grader.submit(episodes)
    graded = grader.collect()
    refuse_failed_evaluation(graded, grader.fault)
    return graded


def in_order(
    graded: Sequence[GradedEpisode], problems: Sequence[Problem], samples: int, version: int
) -> list[GradedEpisode]:
    """Return episodes in the order of problems and samples.

    The order of arrival depends on timing. It would change sums of floats, and so a resumed run.
    Raises RolloutError for an episode that is missing, doubled, or sampled from other weights.
    """
    arrived = {(g.episode.problem.index, g.episode.sample): g for g in graded}
    wanted = [(problem.index, sample) for problem in problems for sample in range(samples)]
    if set(arrived) != set(wanted) or len(graded) != len(wanted):
        raise RolloutError(
            f"{len(wanted)} episodes were requested; {len(graded)} arrived, {len(arrived)} of "
            f"them distinct and {len(set(arrived) & set(wanted))} as requested"
        )
    versions = {attempt.version for g in graded for attempt in g.episode.attempts}
    if versions != {version}:
        raise RolloutError(
            f"attempts were sampled from weights of version {sorted(versions)}; the expected "
            f"version is {version}"
        )
    return [arrived[key] for key in wanted]


def sampled_sums(graded: Sequence[GradedEpisode]) -> np.ndarray:
    """Return the sums of the sampler's log-probs, [episodes, attempts]."""
    return np.array([[sum(a.logprobs) for a in g.episode.attempts] for g in graded])
