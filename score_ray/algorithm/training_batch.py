"""Makes the learner's batch, rows of tokens and advantages, from graded episodes.

    reinforce  every episode, each attempt with its advantage (objective.py)
    star       the episodes whose last attempt is correct, unchanged
    pairs      first attempts, each followed by a correct attempt of another sample

The last two are supervised fine-tuning, the baselines of arXiv 2409.12917 (section 4): the
advantages of every row are the stage's reward coefficients. Both keep the outcome "i_to_c" for
the paper's D_STaR and D_SFT, and "c_to_c" too for D+_STaR and D+_SFT.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from score_ray.algorithm.batch import Row, row_of
from score_ray.algorithm.objective import (
    RewardCoefficients,
    advantages,
    known_rewards,
    shaped_rewards,
)
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Verdict

# By whether the first and the last attempt are correct; an episode that ends wrong, or in which
# the measurement of either failed, has no name.
OUTCOMES = {(False, True): "i_to_c", (True, True): "c_to_c"}


@dataclass(frozen=True, slots=True)
class GradedBatch:
    """The graded episodes of an iteration; the `samples` episodes of a problem are adjacent.

    `rows` are their tokens, `kl` [episodes, attempts] the sums of log-ratios to the reference.
    """

    episodes: Sequence[GradedEpisode]
    rows: Sequence[Row]
    kl: np.ndarray
    samples: int


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Rows and their advantages [rows, attempts]; never empty.

    If no episode is to be imitated, it is one row with advantages of 0. Rows to imitate have NaN
    as sampled log-probs, so that no importance weight is applied to them.
    """

    rows: Sequence[Row]
    advantages: np.ndarray


LearningMethod = Callable[[GradedBatch, RewardCoefficients, Sequence[str]], TrainingBatch]


def reinforce(
    graded: GradedBatch, coefficients: RewardCoefficients, keep: Sequence[str]
) -> TrainingBatch:
    """Return all episodes, with the leave-one-out advantages of their shaped rewards.

    An attempt whose measurement failed has an advantage of 0.
    """
    is_measured = torch.tensor([g.is_measured for g in graded.episodes])
    rewards = torch.tensor([g.rewards for g in graded.episodes], dtype=torch.float64)
    # The mask says what is unknown: a NaN of the KL, which is a fault, must stay visible.
    rewards = torch.where(is_measured, rewards, 0.0)
    shaped = shaped_rewards(rewards, torch.from_numpy(graded.kl), coefficients)
    known = known_rewards(is_measured, coefficients.bonus)
    return TrainingBatch(graded.rows, advantages(shaped, graded.samples, known).numpy())


def star(
    graded: GradedBatch, coefficients: RewardCoefficients, keep: Sequence[str]
) -> TrainingBatch:
    """Return the episodes whose outcome is in `keep`, to imitate."""
    both = zip(graded.episodes, graded.rows, strict=True)
    return _imitation_batch(
        [row for g, row in both if outcome(g) in keep], coefficients, graded.rows
    )


def pairs(
    graded: GradedBatch, coefficients: RewardCoefficients, keep: Sequence[str]
) -> TrainingBatch:
    """Return first attempts, each followed by a correct attempt at its problem, to imitate.

    A pair is taken if its outcome is in `keep`. The second attempts are all correct attempts in
    the problem's group that end with a stop token. They are taken in turn, and a correct first
    attempt is not followed by itself.
    """
    chosen: list[Row] = []
    for start in range(0, len(graded.episodes), graded.samples):
        group = graded.episodes[start : start + graded.samples]
        correct = [attempt for g in group for attempt in _correct_attempts(g)]
        for number, g in enumerate(group):
            first = g.episode.attempts[0]
            others = [attempt for attempt in correct if attempt is not first]
            if _named(g.verdicts[0], bool(others)) in keep:
                chosen.append(row_of(paired(g.episode, others[number % len(others)])))
    return _imitation_batch(chosen, coefficients, graded.rows)


LEARNING_METHODS: dict[str, LearningMethod] = {
    "reinforce": reinforce,
    "star": star,
    "pairs": pairs,
}


def outcome(graded: GradedEpisode) -> str | None:
    """Return the episode's name in OUTCOMES, or None.

    None stands for a last attempt that is not correct, and for a first one whose measurement
    failed.
    """
    return _named(graded.verdicts[0], graded.verdicts[-1] is Verdict.CORRECT)


def paired(episode: Episode, answer: Attempt) -> Episode:
    """Return the episode with `answer`, an attempt of its group, as the second of two attempts.

    The log-probs of that attempt are still those of the episode in which it was sampled.
    """
    first, second = episode.attempts
    second = replace(answer, prompt_ids=second.prompt_ids)
    return replace(episode, attempts=(first, second))


def _named(first: Verdict, ends_correct: bool) -> str | None:
    if not first.is_measured:
        return None
    return OUTCOMES.get((first is Verdict.CORRECT, ends_correct))


def _correct_attempts(graded: GradedEpisode) -> list[Attempt]:
    both = zip(graded.episode.attempts, graded.verdicts, strict=True)
    return [a for a, v in both if v is Verdict.CORRECT and a.finish is Finish.STOP]


def _imitation_batch(
    kept: Sequence[Row], coefficients: RewardCoefficients, rows: Sequence[Row]
) -> TrainingBatch:
    if not kept:
        return TrainingBatch(rows[:1], np.zeros((1, len(coefficients.reward))))
    unknown = [replace(row, sampled_logprobs=(math.nan,) * len(row.token_ids)) for row in kept]
    return TrainingBatch(unknown, np.tile(np.array(coefficients.reward), (len(kept), 1)))
