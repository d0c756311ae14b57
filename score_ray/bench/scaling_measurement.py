"""Measure iterations with some number of rollout actors and learner ranks."""

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from score_ray.algorithm.batch import row_of
from score_ray.bench.recipe_cost import mean_of, measured_steps
from score_ray.bench.scaling_model import steps_of
from score_ray.config.config import Config
from score_ray.reporting.metrics import StepResult
from score_ray.reporting.run_folder import RunFolder
from score_ray.training.iteration import draw, training_plan
from score_ray.training.protocols import Roles
from score_ray.types import Episode

# Phases in which the driver waits for others. The rest of an iteration is the driver's alone.
WAITING_PHASES = ("rollout", "reference", "update", "broadcast")
PHASES = (*WAITING_PHASES, "driver")

Seconds = dict[str, float]  # by phase


@dataclass(frozen=True)
class MeasuredIteration:
    """The mean times of iterations with one split and one size of batch, in seconds."""

    groups: list[list[int]]  # tokens of each problem's episodes
    means: Seconds  # of `Trainer.step`, by phase, and "iteration" for the whole
    sampling: float  # of the episodes in `groups`
    driver: Seconds  # processor time of the driver in each phase
    reading_rows: float  # that a rank needs to read all rows
    row_bytes: float

    @property
    def episodes(self) -> int:
        """Number of episodes in an iteration."""
        return sum(map(len, self.groups))

    def steps(self, max_running: int) -> tuple[int, int, int]:
        """Return (steps, request-steps, parts of the stream) of an engine for the groups."""
        return steps_of([tokens for group in self.groups for tokens in group], max_running)


def arrange(config: Config, actors: int, ranks: int) -> Config:
    """Return the same recipe with so many rollout actors and learner ranks."""
    rollout = config.rollout.model_copy(update={"num_actors": actors})
    zero = max(config.learner.zero_stage, 2) if ranks > 1 else config.learner.zero_stage
    learner = config.learner.model_copy(update={"num_ranks": ranks, "zero_stage": zero})
    return config.model_copy(update={"rollout": rollout, "learner": learner})


def shrink(config: Config, divisor: int) -> Config:
    """Return the same recipe with its problems per iteration divided by `divisor`."""
    few = {"problems": max(config.rollout.problems // divisor, 1)}
    return config.model_copy(update={"rollout": config.rollout.model_copy(update=few)})


def measure(roles: Roles, config: Config, iterations: int, folder: RunFolder) -> MeasuredIteration:
    """Measure whole iterations by phase, then the same number of them call by call."""
    means = _phase_means(measured_steps(roles, config, iterations, folder))
    idle_rate = _processor_time(lambda: time.sleep(1.0), idle_rate=0.0)
    runs = [_call_by_call(roles, config, means, idle_rate) for _ in range(iterations)]
    return replace(
        runs[0],
        sampling=fmean(run.sampling for run in runs),
        driver={phase: fmean(run.driver[phase] for run in runs) for phase in WAITING_PHASES},
        reading_rows=fmean(run.reading_rows for run in runs),
    )


def _phase_means(steps: Sequence[StepResult]) -> Seconds:
    seconds = mean_of(steps).seconds
    means = {phase: seconds[phase] for phase in (*WAITING_PHASES, "iteration")}
    means["driver"] = means["iteration"] - sum(means[phase] for phase in WAITING_PHASES)
    return means


def _call_by_call(
    roles: Roles, config: Config, means: Seconds, idle_rate: float
) -> MeasuredIteration:
    """Make the calls of an iteration, on the same problems each time, and time each alone."""
    problems = draw(roles.train, config.rollout.problems, config.seed, 0, config.task.weights)
    plan, episodes = training_plan(config, 0), []

    def sample() -> None:
        for part in roles.pool.sample(problems, plan):
            roles.grader.submit(part)
            episodes.extend(part)

    began = time.perf_counter()
    driver = {"rollout": _processor_time(sample, idle_rate)}
    sampling = time.perf_counter() - began
    roles.grader.collect()
    rows = [row_of(episode) for episode in episodes]
    # With advantages of zero the update takes as long, and only momentum moves the policy.
    advantages = np.zeros((len(rows), plan.attempts))
    calls = {
        "reference": lambda: roles.learner.reference_sums(rows, plan.attempts),
        "update": lambda: roles.learner.update(rows, advantages, 0),
        "broadcast": lambda: roles.channel.broadcast(0),
    }
    driver |= {phase: _processor_time(call, idle_rate) for phase, call in calls.items()}
    reading, row_bytes = _reading_rows(rows)
    return MeasuredIteration(
        _tokens_by_problem(episodes), means, sampling, driver, reading, row_bytes
    )


def _processor_time(call: Callable[[], Any], idle_rate: float) -> float:
    """Return this process' processor seconds during a call.

    `idle_rate` is what the process uses per second while it only waits: that is taken off.
    """
    began, processor = time.perf_counter(), time.process_time()
    call()
    waiting = idle_rate * (time.perf_counter() - began)
    return max(time.process_time() - processor - waiting, 0.0)


def _reading_rows(rows: Sequence[Any]) -> tuple[float, float]:
    """Return the seconds to read all rows as a rank gets them, and the bytes of one row."""
    packed = pickle.dumps(rows, protocol=5)
    began = time.perf_counter()
    pickle.loads(packed)
    return time.perf_counter() - began, len(packed) / len(rows)


def _tokens_by_problem(episodes: Sequence[Episode]) -> list[list[int]]:
    """Return the sampled tokens of each episode, by problem."""
    groups: dict[int, list[int]] = {}
    for episode in sorted(episodes, key=lambda e: (e.problem.index, e.sample)):
        sampled = sum(len(a.completion_ids) for a in episode.attempts if not a.given)
        groups.setdefault(episode.problem.index, []).append(sampled)
    return list(groups.values())
