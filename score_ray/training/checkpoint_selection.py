"""Choose the checkpoint that becomes the model: by training reward, as in the paper, or held out.

Both read the run folder's records alone. A checkpoint is named by its number of updates; the
episodes of iteration i come from weights after i updates.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from score_ray.config.schema import Stage
from score_ray.reporting.json_lines import Record
from score_ray.reporting.metrics import StepResult, evaluated_accuracies
from score_ray.reporting.run_folder import HELD_OUT

By = Literal["last", "train_reward", "held_out"]


def best(
    by: By,
    steps: Sequence[StepResult],
    evals: Sequence[Record],
    checkpoints: Sequence[int],
    stages: Sequence[Stage],
) -> int | None:
    """Return the best of `checkpoints`, the later one of equals; None if none has a score.

    `checkpoints` are all that the run has saved, also those that are not kept any more: the
    score of each is of the iterations since the one before. Scores never change. A call after
    every save therefore returns the best one so far, which was kept, or the one just saved.
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
    """Return the mean reward since the checkpoint before, of each checkpoint of the last stage.

    Checkpoints of different stages cannot be compared, because stages reward different things.
    """
    begin, made = sum(stage.iterations for stage in stages[:-1]), sorted(set(checkpoints))
    scores = {}
    for before, done in zip([0, *made], made, strict=False):
        since = range(max(before, begin), done)
        rewards = [weighted_reward(s, stages[-1]) for s in steps if s.iteration in since]
        if rewards:
            scores[done] = fmean(rewards)
    return scores


def weighted_reward(step: StepResult, stage: Stage) -> float:
    """Return an iteration's mean rewards times the stage's coefficients, without bonus and KL."""
    return sum(w * r for w, r in zip(stage.reward, step.episodes.rewards, strict=True) if w)


def held_out_accuracies(
    evals: Sequence[Record], checkpoints: Sequence[int], attempts: int
) -> dict[int, float]:
    """Return the held-out accuracy of the last attempt, of each checkpoint of any stage.

    That is the last of the `attempts` trained, or of those evaluated where they are fewer.
    """
    scores = {}
    for record in evals:
        if record["split"] == HELD_OUT and record["iteration"] in checkpoints:
            scores[record["iteration"]] = evaluated_accuracies(record)[:attempts][-1]
    return scores
