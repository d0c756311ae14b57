"""Which checkpoint becomes the model: by training reward, as in the paper, or by held-out set.

Both read nothing but the run folder's records. A checkpoint is named by the updates that it
has seen; the episodes of iteration i come from weights after i updates.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from score_ray.config.schema import Stage
from score_ray.reporting.json_lines import Record
from score_ray.reporting.run_folder import HELD_OUT

By = Literal["last", "train_reward", "held_out"]


def best(
    by: By,
    metrics: Sequence[Record],
    evals: Sequence[Record],
    checkpoints: Sequence[int],
    stages: Sequence[Stage],
) -> int | None:
    """The best of `checkpoints`, the later one of equals; None if nothing can be compared.

    `checkpoints` are all that the run has saved, also those that are not kept any more: each
    is measured since the one before. A score never changes once it is there, so that asking
    after every save gives the best so far or the one just saved.
    """
    if by == "last":
        return max(checkpoints, default=None)
    if by == "train_reward":
        scores = training_rewards(metrics, checkpoints, stages)
    else:
        scores = held_out_accuracies(evals, checkpoints, len(stages[-1].reward))
    return max(scores, key=lambda done: (scores[done], done), default=None)


def training_rewards(
    metrics: Sequence[Record], checkpoints: Sequence[int], stages: Sequence[Stage]
) -> dict[int, float]:
    """Of each checkpoint of the last stage: the mean reward since the checkpoint before.

    Only one stage's checkpoints can be compared, because another stage rewards other things.
    """
    begin, made = sum(stage.iterations for stage in stages[:-1]), sorted(set(checkpoints))
    scores = {}
    for before, done in zip([0, *made], made, strict=False):
        since = range(max(before, begin), done)
        rewards = [weighted(r, stages[-1]) for r in metrics if r["iteration"] in since]
        if rewards:
            scores[done] = fmean(rewards)
    return scores


def weighted(record: Record, stage: Stage) -> float:
    """An iteration's mean rewards, weighted as its stage does; without bonus and KL."""
    return sum(w * record[f"train/reward_t{i}"] for i, w in enumerate(stage.reward, 1) if w)


def held_out_accuracies(
    evals: Sequence[Record], checkpoints: Sequence[int], attempts: int
) -> dict[int, float]:
    """Of each checkpoint, in any stage: the held-out accuracy of the last attempt.

    That is the last of the `attempts` trained, or of those evaluated where they are fewer.
    """
    scores = {}
    for record in evals:
        if record["split"] == HELD_OUT and record["iteration"] in checkpoints:
            names = [f"acc_t{i}" for i in range(1, attempts + 1)]
            scores[record["iteration"]] = [record[name] for name in names if name in record][-1]
    return scores
