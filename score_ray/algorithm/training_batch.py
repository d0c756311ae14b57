"""What the learner is told of an iteration: rows of tokens, and a weight per row and attempt.

    reinforce  every episode, each attempt weighted with its advantage (objective.py)
    star       the episodes whose correction succeeded, as they are
    pairs      wrong first attempts, each followed by a right answer of another sample

The last two imitate, as the baselines of arXiv 2409.12917 (section 4) do: their weights are
the stage's reward row for every row that is kept, and 0 for none. Of flips, D_STaR and D_SFT
keep i_to_c; D+_STaR and D+_SFT keep c_to_c too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from score_ray.algorithm.batch import Row, row_of
from score_ray.algorithm.objective import RewardCoefficients, advantages, shaped_rewards
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Verdict

Flip = str
FLIPS = {(False, True): "i_to_c", (True, True): "c_to_c"}


@dataclass(frozen=True, slots=True)
class GradedBatch:
    """The graded episodes of an iteration, samples of a problem side by side.

    `rows` are their tokens, `kl` [episodes, attempts] the sums of log-ratios.
    """

    episodes: Sequence[GradedEpisode]
    rows: Sequence[Row]
    kl: np.ndarray
    samples: int


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Rows, and weights [rows, attempts] of their log-probs; never empty.

    Where nothing is worth imitating it is one row of weight 0. Rows that are imitated have no
    sampled log-probs (NaN): who drew them does not matter, so nothing is corrected for it.
    """

    rows: Sequence[Row]
    weights: np.ndarray


def reinforce(
    graded: GradedBatch, weights: RewardCoefficients, keep: Sequence[Flip]
) -> TrainingBatch:
    """All episodes, weighted with the leave-one-out advantages of the shaped rewards."""
    rewards = torch.tensor([g.rewards for g in graded.episodes], dtype=torch.float64)
    shaped = shaped_rewards(rewards, torch.from_numpy(graded.kl), weights)
    return TrainingBatch(graded.rows, advantages(shaped, graded.samples).numpy())


def star(graded: GradedBatch, weights: RewardCoefficients, keep: Sequence[Flip]) -> TrainingBatch:
    """The episodes whose flip is kept."""
    pairs = zip(graded.episodes, graded.rows, strict=True)
    return _imitating([row for g, row in pairs if flip(g) in keep], weights, graded.rows)


def pairs(graded: GradedBatch, weights: RewardCoefficients, keep: Sequence[Flip]) -> TrainingBatch:
    """Each first attempt whose flip is kept, followed by a right answer to its problem.

    Right answers are all right attempts of the problem's samples that the model ended itself;
    they are taken in turn, and a right first attempt is not followed by itself.
    """
    chosen: list[Row] = []
    for start in range(0, len(graded.episodes), graded.samples):
        group = graded.episodes[start : start + graded.samples]
        right = [a for g in group for a in _right(g)]
        for number, g in enumerate(group):
            first = g.episode.attempts[0]
            others = [a for a in right if a is not first]
            found = FLIPS.get((g.verdicts[0] is Verdict.CORRECT, bool(others)))
            if found in keep:
                chosen.append(row_of(paired(g.episode, others[number % len(others)])))
    return _imitating(chosen, weights, graded.rows)


BATCHES: dict[str, Callable[[GradedBatch, RewardCoefficients, Sequence[Flip]], TrainingBatch]] = {
    "reinforce": reinforce,
    "star": star,
    "pairs": pairs,
}


def flip(graded: GradedEpisode) -> Flip | None:
    """From which first to which last attempt an episode goes; None if the last one is wrong."""
    first, last = graded.verdicts[0], graded.verdicts[-1]
    return FLIPS.get((first is Verdict.CORRECT, last is Verdict.CORRECT))


def paired(episode: Episode, answer: Attempt) -> Episode:
    """An episode of two attempts whose second one is another sample's answer.

    The policy did not draw that answer here: its log-probs are those of where it was drawn.
    """
    first, second = episode.attempts
    second = replace(answer, prompt_ids=second.prompt_ids)
    return replace(episode, attempts=(first, second))


def _right(graded: GradedEpisode) -> list[Attempt]:
    found = zip(graded.episode.attempts, graded.verdicts, strict=True)
    return [a for a, v in found if v is Verdict.CORRECT and a.finish is Finish.STOP]


def _imitating(
    kept: Sequence[Row], weights: RewardCoefficients, rows: Sequence[Row]
) -> TrainingBatch:
    if not kept:
        return TrainingBatch(rows[:1], np.zeros((1, len(weights.reward))))
    unknown = [replace(row, sampled_logprobs=(math.nan,) * len(row.token_ids)) for row in kept]
    return TrainingBatch(unknown, np.tile(np.array(weights.reward), (len(kept), 1)))
