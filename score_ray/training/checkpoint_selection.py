"""Selects the checkpoint that becomes the model: by training reward, as the paper, or held out.

Both use only the records in the run folder. A checkpoint is identified by the number of updates
before it; the episodes of iteration i come from weights after i updates.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from score_ray.config.schema import Stage
from score_ray.reporting.json_lines import Record
from score_ray.reporting.metrics import StepResult, evaluated_accuracies, evaluated_failures
from score_ray.reporting.run_folder import HELD_OUT

Criterion = Literal["last", "train_reward", "held_out"]


def best(
    by: Criterion,
    steps: Sequence[StepResult],
    evals: Sequence[Record],
    checkpoints: Sequence[int],
    stages: Sequence[Stage],
) -> int | None:
    """Return the best of `checkpoints`, the later one of equals, or None if none has a score.

    `checkpoints` are all that were ever saved, also those that are deleted by now, because the
    reward of one is averaged since the one before it. Scores never change, so a call after every
    save returns the best one so far, which was kept, or the one just saved.
    """
    if by == "last":
        return max(checkpoints, default=None)
    if by == "train_reward":
        scores = training_rewards(steps, checkpoints, stages)
    else:
        scores = held_out_accuracies(evals, checkpoints, len(stages[-1].reward))
    return max(scores, key=lambda done: (scores[done], done), default=None)


def training_rewards(
    steps: Sequence[StepResult], checkpoints: Sequence[int], stages: Sequence[Stage]
) -> dict[int, float]:
    """Return, for each checkpoint of the last stage, the mean reward since the one before it.

    Checkpoints of different stages cannot be compared, because stages reward different things.
    """
    stage_start, saved = sum(stage.iterations for stage in stages[:-1]), sorted(set(checkpoints))
    scores = {}
    for before, done in zip([0, *saved], saved, strict=False):
        iterations = range(max(before, stage_start), done)
        rewards = [weighted_reward(s, stages[-1]) for s in steps if s.iteration in iterations]
        # The reward of an iteration in which an attempt was never measured is nan.
        if known := [reward for reward in rewards if not math.isnan(reward)]:
            scores[done] = fmean(known)
    return scores


def weighted_reward(step: StepResult, stage: Stage) -> float:
    """Return the sum of an iteration's mean rewards, each times the stage's reward coefficient."""
    return sum(w * r for w, r in zip(stage.reward, step.episodes.rewards, strict=True) if w)


def held_out_accuracies(
    evals: Sequence[Record], checkpoints: Sequence[int], attempts: int
) -> dict[int, float]:
    """Return, for each checkpoint of any stage, the held-out accuracy of its last attempt.

    This is the last of the `attempts` in training, or the last one evaluated if that is earlier;
    among those that were measured, so that a failing grader does not choose the checkpoint.
    """
    scores = {}
    for record in evals:
        if record["split"] == HELD_OUT and record["iteration"] in checkpoints:
            accuracies = evaluated_accuracies(record)[:attempts]
            failed = evaluated_failures(record)[: len(accuracies)] or (0.0,)
            scores[record["iteration"]] = accuracies[-1] / (1 - failed[-1])
    return scores
