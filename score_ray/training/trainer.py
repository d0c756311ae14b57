"""The story of a run: collect, grade, score, shape, update, broadcast; evaluate between stages.

Everything named here lives elsewhere; the loop imports no Ray, vLLM or DeepSpeed and runs
with fakes. It never asks which stage it is in: a stage is a row of numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from score_ray.algorithm.batch import Row, row_of
from score_ray.algorithm.kl_controller import adapted
from score_ray.algorithm.metrics import episode_metrics, eval_record
from score_ray.algorithm.objective import RewardCoefficients
from score_ray.algorithm.training_batch import BATCHES, GradedBatch
from score_ray.config.config import Config
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import HELD_OUT, TEST, RunFolder
from score_ray.training import checkpoint
from score_ray.training.checkpoint_selection import best
from score_ray.training.collector import Collector
from score_ray.training.first_attempts import (
    draw_first_attempts,
    offline_part,
    with_given,
)
from score_ray.training.iteration import Clock, draw, sampled_sums, training_plan
from score_ray.types import (
    GradedEpisode,
    Grader,
    LearnerLost,
    PolicyBroadcast,
    Pool,
    Problem,
    RunError,
    SamplingPlan,
)


class PolicyLearner(Protocol):
    """What the loop needs of the learner's ranks, few or many."""

    def reference_sums(self, rows: Sequence[Row], num_attempts: int) -> np.ndarray:
        """[rows, attempts] sums of the frozen reference's log-probs."""
        ...

    def update(self, rows: Sequence[Row], weights: np.ndarray, iteration: int) -> dict[str, float]:
        """One optimizer step on weighted rows, weights [rows, attempts]; its metrics."""
        ...

    def save(self, folder: Path) -> None:
        """Write policy and optimizer."""
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
    held_out: Sequence[Problem]
    test: Sequence[Problem]
    pool: Pool
    grader: Grader
    learner: PolicyLearner
    channel: PolicyBroadcast
    reporter: Reporter


def train(
    roles: Roles, config: Config, folder: RunFolder, found: tuple[Path, dict[str, Any]] | None
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
                found = checkpoint.newest(folder.checkpoints, roles.reporter.checkpoint_fault)
                roles.learner.restart(lost)
                roles.reporter.rewind(found[1]["iteration"] if found else 0)
            if found:
                roles.learner.restore(found[0])
            run(roles, config, folder, found[1] if found else {"iteration": 0})
            return
        except LearnerLost as error:
            lost = error


def run(roles: Roles, config: Config, folder: RunFolder, state: Mapping[str, Any]) -> None:
    """From a checkpoint's state to the trained model in the run folder."""
    start, kl, saved = state["iteration"], tuple(state.get("kl", ())), [*state.get("saved", ())]
    ends = config.stage_ends()
    roles.channel.broadcast(start)
    if start == 0:
        evaluate_test(roles, config, 0, "base")
    given = first_attempts(roles, config, folder, start)
    with collector(roles, config, given) as collect:
        for iteration in range(start, config.iterations):
            stage, done = config.stage_at(iteration), iteration + 1
            kl = stage.kl if iteration in ends or not kl else kl
            record = step(roles, config, collect, iteration, kl)
            roles.reporter.iteration(record)
            means = [record[f"kl/t{i}"] for i in range(1, len(kl) + 1)]
            kl = adapted(kl, means, stage.kl_target, stage.kl)
            if config.is_evaluated(done):
                evaluate_test(roles, config, done, ends.get(done, f"iteration {done}"))
            if config.is_saved(done):
                saved.append(done)
                state = {"iteration": done, "kl": kl, "saved": saved}
                keep_checkpoint(roles, config, folder, state)
    restore_selected(roles, config, folder, saved)
    roles.learner.export(folder.model)


def collector(roles: Roles, config: Config, given: Mapping[int, str] | None = None) -> Collector:
    """Who collects episodes of the training problems.

    `given` holds the base model's first attempts by problem index, for the offline share.
    """

    def problems_of(iteration: int) -> list[Problem]:
        problems = draw(roles.train, config.rollout.problems, config.seed, iteration)
        return with_given(problems, given or {}, config.rollout.offline_share)

    return Collector(roles.pool, roles.grader, problems_of, config)


def step(
    roles: Roles, config: Config, collect: Collector, iteration: int, kl: Sequence[float] = ()
) -> dict[str, Any]:
    """One iteration: collect episodes, update the policy, broadcast it; its metrics.

    `kl` are the KL coefficients, by default the stage's.
    """
    clock, stage = Clock(), config.stage_at(iteration)
    collect.sample(iteration)
    clock.lap("rollout")
    episodes = collect.graded(iteration)
    clock.lap("grade")
    if config.is_ahead(iteration + 1):
        collect.begin(iteration + 1)
    rows = [row_of(g.episode) for g in episodes]
    reference = roles.learner.reference_sums(rows, config.rollout.attempts)
    clock.lap("reference")
    graded = GradedBatch(episodes, rows, sampled_sums(episodes) - reference, config.rollout.samples)
    weights = RewardCoefficients(stage.reward, stage.bonus, tuple(kl or stage.kl))
    lesson = BATCHES[stage.learn](graded, weights, stage.keep)
    update = roles.learner.update(lesson.rows, lesson.weights, iteration)
    clock.lap("update")
    collect.settle()
    clock.lap("rollout")
    served = config.is_served(iteration + 1)
    checked = roles.channel.broadcast(iteration + 1) if served else {}
    clock.lap("broadcast")
    roles.reporter.generations(episodes[:: config.rollout.samples], iteration, limit=2)
    return {
        "iteration": iteration,
        "stage": stage.name,
        "version": config.version_at(iteration + 1),
        "stale": config.version_at(iteration) - episodes[0].episode.attempts[-1].version,
        **episode_metrics(episodes),
        **{f"kl/t{i + 1}": float(value) for i, value in enumerate(graded.kl.mean(axis=0))},
        **{f"kl_coef/t{i + 1}": value for i, value in enumerate(weights.kl)},
        **update,
        **checked,
        "restarts/rollout": roles.pool.take_restarts(),
        "restarts/learner": roles.learner.take_restarts(),
        "rows/trained": len(lesson.rows) if lesson.weights.any() else 0,
        "tokens/trained": sum(len(row.token_ids) for row in lesson.rows),
        **clock.done(),
    }


def evaluate_test(roles: Roles, config: Config, done: int, label: str) -> None:
    """Evaluate what the engines serve on the test split, into the run folder."""
    problems = roles.test[: config.evaluation.problems]
    graded = evaluate(roles.pool, roles.grader, problems, config)
    roles.reporter.answers(graded, done)
    roles.reporter.evaluation(eval_record(graded, done, config.task.name, TEST), label)


def evaluate(
    pool: Pool, grader: Grader, problems: Sequence[Problem], config: Config
) -> list[GradedEpisode]:
    """A greedy episode of every problem, graded."""
    plan = SamplingPlan(
        seed=config.seed,
        samples=1,
        attempts=config.evaluated_attempts,
        max_tokens=config.rollout.max_tokens,
        temperature=0.0,
    )
    for episodes in pool.sample(problems, plan):
        grader.submit(episodes)
    return grader.collect()


def keep_checkpoint(roles: Roles, config: Config, folder: RunFolder, state: dict[str, Any]) -> None:
    """Save where the run is; the best checkpoint so far stays beside the newest ones."""
    done = state["iteration"]
    if roles.held_out:
        graded = evaluate(roles.pool, roles.grader, roles.held_out, config)
        record = eval_record(graded, done, config.task.name, HELD_OUT)
        roles.reporter.evaluation(record, f"held out, iteration {done}")
    spare = selected(config, folder, state["saved"])
    keep, write = config.checkpoint.keep, roles.learner.save
    checkpoint.save(folder.checkpoints, done, write, state, keep, spare)


def restore_selected(roles: Roles, config: Config, folder: RunFolder, saved: Sequence[int]) -> None:
    """Go back to the checkpoint that the config selects, and evaluate it.

    Raises RunError if it cannot be read.
    """
    chosen = selected(config, folder, saved)
    if chosen is not None and chosen < config.iterations:
        try:
            source = checkpoint.find(folder.checkpoints, chosen)
        except FileNotFoundError as error:
            hint = "checkpoint.select=last ends the run with its last weights"
            raise RunError(f"the best checkpoint is lost: {error}; {hint}") from error
        roles.learner.restore(source)
        roles.channel.broadcast(chosen)
        evaluate_test(roles, config, chosen, f"selected, iteration {chosen}")


def selected(config: Config, folder: RunFolder, saved: Sequence[int]) -> int | None:
    """The best of all checkpoints that were ever saved; None for the last weights."""
    if config.checkpoint.select == "last":
        return None
    metrics, evals = folder.metrics(), folder.evals()
    return best(config.checkpoint.select, metrics, evals, saved, config.stages)


def first_attempts(roles: Roles, config: Config, folder: RunFolder, start: int) -> dict[int, str]:
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
        plan = training_plan(config, config.iterations)
        folder.write_first_attempts(draw_first_attempts(roles.pool, planned, plan))
    return folder.first_attempts()
