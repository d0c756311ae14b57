"""The story of a run: collect, grade, score, shape, update, broadcast; evaluate between stages.

Everything named here lives elsewhere; the loop imports no Ray, vLLM or DeepSpeed and runs
with fakes. It never asks which stage it is in: a stage is a row of numbers.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from score_ray import checkpoint
from score_ray.batch import Row, row_of
from score_ray.config import Config
from score_ray.evaluate import episode_metrics, eval_record
from score_ray.objective import Weights, advantages, shaped_rewards
from score_ray.offline import (
    draw_first_attempts,
    offline_part,
    read_first_attempts,
    with_given,
)
from score_ray.report import Reporter
from score_ray.rollout import derive_seed
from score_ray.types import (
    Channel,
    GradedEpisode,
    Grader,
    LearnerLost,
    Pool,
    Problem,
    RunError,
    SamplingPlan,
)


class Learner(Protocol):
    """What the loop needs of the learner's ranks, few or many."""

    def reference_sums(self, rows: Sequence[Row], num_attempts: int) -> np.ndarray:
        """[rows, attempts] sums of the frozen reference's log-probs."""
        ...

    def update(
        self, rows: Sequence[Row], advantages: np.ndarray, iteration: int
    ) -> dict[str, float]:
        """One optimiser step, with [rows, attempts] advantages; its metrics."""
        ...

    def save(self, folder: Path) -> None:
        """Write policy and optimiser."""
        ...

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote."""
        ...

    def restart(self, lost: LearnerLost) -> None:
        """Begin again from the base model after a loss."""
        ...

    def take_restarts(self) -> int:
        """How often it began again since this was last asked."""
        ...

    def export(self, folder: Path) -> None:
        """Write the policy as a model folder."""
        ...


@dataclass(frozen=True, slots=True)
class Roles:
    """Everyone the loop talks to."""

    train: Sequence[Problem]
    test: Sequence[Problem]
    pool: Pool
    grader: Grader
    learner: Learner
    channel: Channel
    reporter: Reporter


class RolloutError(RunError):
    """The rollout actors returned other episodes than were asked for."""


class Clock:
    """Seconds per phase of one iteration."""

    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Everything since the last lap was `phase`."""
        now = time.perf_counter()
        self.seconds[f"time/{phase}"] = now - self._last
        self._last = now

    def done(self) -> dict[str, float]:
        """All phases, and the whole iteration."""
        return {**self.seconds, "time/iteration": time.perf_counter() - self.start}


def train(
    roles: Roles, config: Config, folder: Path, found: tuple[Path, dict[str, Any]] | None
) -> None:
    """Run all iterations that come after the checkpoint `found`, or after the base model.

    When a learner rank is lost, everyone goes back to the newest checkpoint and does over what
    came after it.
    """
    lost: LearnerLost | None = None
    while True:
        try:
            if lost:
                roles.grader.forget()
                found = checkpoint.newest(folder / "checkpoints", roles.reporter.checkpoint_fault)
                roles.learner.restart(lost)
                roles.reporter.rewind(found[1]["iteration"] if found else 0)
            if found:
                roles.learner.restore(found[0])
            run(roles, config, folder, found[1]["iteration"] if found else 0)
            return
        except LearnerLost as error:
            lost = error


def run(roles: Roles, config: Config, folder: Path, start: int) -> None:
    """From `start` updates to the trained model in the run folder."""
    ends = config.stage_ends()
    roles.channel.broadcast(start)
    if start == 0:
        roles.reporter.evaluation(evaluate(roles.pool, roles.grader, roles.test, config, 0), "base")
    given = first_attempts(roles, config, folder / "first_attempts.jsonl", start)
    for iteration in range(start, config.iterations):
        roles.reporter.iteration(step(roles, config, iteration, given))
        done = iteration + 1
        if done in ends or (config.evaluation.every and done % config.evaluation.every == 0):
            record = evaluate(roles.pool, roles.grader, roles.test, config, done)
            roles.reporter.evaluation(record, ends.get(done, f"iteration {done}"))
        if done in ends or done % config.checkpoint.every == 0:
            state, keep = {"iteration": done}, config.checkpoint.keep
            checkpoint.save(folder / "checkpoints", done, roles.learner.save, state, keep)
    roles.learner.export(folder / "model")


def step(roles: Roles, config: Config, iteration: int, given: Mapping[int, str]) -> dict[str, Any]:
    """One iteration: collect episodes, update the policy, broadcast it; its metrics.

    `given` holds the base model's first attempts by problem index, for the offline share.
    """
    clock, stage = Clock(), config.stage_at(iteration)
    problems = draw(roles.train, config.rollout.problems, config.seed, iteration)
    problems = with_given(problems, given, config.rollout.offline_share)
    plan = training_plan(config, iteration)
    for episodes in roles.pool.sample(problems, plan):
        roles.grader.submit(episodes)
    clock.lap("rollout")
    graded = in_order(roles.grader.collect(), problems, plan.samples, version=iteration)
    clock.lap("grade")
    rows = [row_of(g.episode) for g in graded]
    reference = roles.learner.reference_sums(rows, plan.attempts)
    clock.lap("reference")
    kl = torch.from_numpy(sampled_sums(graded) - reference)
    weights = Weights(stage.reward, stage.bonus, stage.kl)
    shaped = shaped_rewards(reward_table(graded), kl, weights)
    update = roles.learner.update(rows, advantages(shaped, plan.samples).numpy(), iteration)
    clock.lap("update")
    checked = roles.channel.broadcast(iteration + 1)
    clock.lap("broadcast")
    roles.reporter.generations(graded[:: plan.samples], iteration, limit=2)
    return {
        "iteration": iteration,
        "stage": stage.name,
        "version": iteration + 1,
        **episode_metrics(graded),
        **{f"kl/t{i + 1}": float(kl[:, i].mean()) for i in range(plan.attempts)},
        **update,
        **checked,
        "restarts/rollout": roles.pool.take_restarts(),
        "restarts/learner": roles.learner.take_restarts(),
        "tokens/trained": sum(len(row.token_ids) for row in rows),
        **clock.done(),
    }


def evaluate(
    pool: Pool, grader: Grader, problems: Sequence[Problem], config: Config, done: int
) -> dict[str, Any]:
    """Evaluate what the engines serve, greedily, after `done` updates: a line of evals.jsonl."""
    plan = SamplingPlan(
        seed=config.seed,
        samples=1,
        attempts=config.evaluated_attempts,
        max_tokens=config.rollout.max_tokens,
        temperature=0.0,
    )
    for episodes in pool.sample(problems[: config.evaluation.problems], plan):
        grader.submit(episodes)
    return eval_record(grader.collect(), done, config.task.name, "test")


def first_attempts(roles: Roles, config: Config, path: Path, start: int) -> dict[int, str]:
    """The base model's first attempts by problem index, drawn before the first update."""
    share, count = config.rollout.offline_share, config.rollout.problems
    if not share:
        return {}
    if start == 0:
        planned = (
            problem
            for iteration in range(config.iterations)
            for problem in offline_part(draw(roles.train, count, config.seed, iteration), share)
        )
        draw_first_attempts(roles.pool, planned, training_plan(config, config.iterations), path)
    return read_first_attempts(path)


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


def reward_table(graded: Sequence[GradedEpisode]) -> torch.Tensor:
    """[episodes, attempts] rewards."""
    return torch.tensor([g.rewards for g in graded], dtype=torch.float64)


def sampled_sums(graded: Sequence[GradedEpisode]) -> np.ndarray:
    """[episodes, attempts] sums of the sampler's own log-probs."""
    return np.array([[sum(a.logprobs) for a in g.episode.attempts] for g in graded])
