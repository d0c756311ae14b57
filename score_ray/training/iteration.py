"""The pure parts of an iteration: which problems, how they are sampled, and in which order.

All are functions of the config, the seed and the iteration number, so that a run that is
resumed, or spread over other actors, asks for the same.
"""

import time
from collections.abc import Sequence

import numpy as np

from score_ray.config.config import Config
from score_ray.rollout.episodes import derive_seed
from score_ray.types import GradedEpisode, Problem, RunError, SamplingPlan


class RolloutError(RunError):
    """The rollout actors returned other episodes than were asked for."""


class Clock:
    """Seconds per phase of one iteration."""

    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Everything since the last lap was `phase`, some more of it or all."""
        now = time.perf_counter()
        phase = f"time/{phase}"
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def done(self) -> dict[str, float]:
        """All phases, and the whole iteration."""
        return {**self.seconds, "time/iteration": time.perf_counter() - self.start}


def draw(problems: Sequence[Problem], count: int, seed: int, iteration: int) -> list[Problem]:
    """The problems of an iteration: none twice within an epoch, reshuffled for each epoch.

    The few that do not fill an iteration at an epoch's end are left out of that epoch.
    """
    epoch, number = divmod(iteration, len(problems) // count)
    order = np.random.default_rng(derive_seed(seed, epoch)).permutation(len(problems))
    return [problems[i] for i in order[number * count : (number + 1) * count]]


def training_plan(config: Config, iteration: int) -> SamplingPlan:
    """How the episodes of an iteration are sampled; its seed is new in every iteration."""
    return SamplingPlan(
        seed=derive_seed(config.seed, iteration),
        samples=config.rollout.samples,
        attempts=config.rollout.attempts,
        max_tokens=config.rollout.max_tokens,
        temperature=config.rollout.temperature,
    )


def in_order(
    graded: Sequence[GradedEpisode], problems: Sequence[Problem], samples: int, version: int
) -> list[GradedEpisode]:
    """The episodes as they were asked for: problems in order, their samples in order.

    Arrival order depends on timing; sums of floats, and so resumed runs, must not.
    Raises RolloutError for an episode that is lost, doubled, or drawn from other weights.
    """
    found = {(g.episode.problem.index, g.episode.sample): g for g in graded}
    wanted = [(problem.index, sample) for problem in problems for sample in range(samples)]
    if set(found) != set(wanted) or len(graded) != len(wanted):
        raise RolloutError(
            f"{len(wanted)} episodes were asked for; {len(graded)} came, {len(found)} of them "
            f"different and {len(set(found) & set(wanted))} as asked"
        )
    versions = {attempt.version for g in graded for attempt in g.episode.attempts}
    if versions != {version}:
        raise RolloutError(
            f"attempts were drawn from weights of version {sorted(versions)}; the policy is at "
            f"version {version}"
        )
    return [found[key] for key in wanted]


def sampled_sums(graded: Sequence[GradedEpisode]) -> np.ndarray:
    """[episodes, attempts] sums of the sampler's own log-probs."""
    return np.array([[sum(a.logprobs) for a in g.episode.attempts] for g in graded])
