"""From graded episodes to the learner's batch: rows of tokens, and advantages.

    reinforce  every episode, each attempt with its advantage (objective.py)
    star       the episodes whose correction succeeded, as they are
    pairs      wrong first attempts, each followed by a right answer of another sample

The last two imitate, as the baselines of arXiv 2409.12917 (section 4) do: every row that is
kept has the stage's reward coefficients for advantages. The outcomes that are kept are
"i_to_c" for D_STaR and D_SFT; D+_STaR and D+_SFT keep "c_to_c" too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from score_ray.algorithm.batch import Row, row_of
from score_ray.algorithm.objective import RewardCoefficients, advantages, shaped_rewards
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Verdict

# Episodes that end right are named by their first attempt, incorrect or correct, and their last.
OUTCOMES = {(False, True): "i_to_c", (True, True): "c_to_c"}


@dataclass(frozen=True, slots=True)
class GradedBatch:
    """The graded episodes of an iteration, the samples of a problem side by side.

    `rows` are their tokens, `kl` [episodes, attempts] the sums of log-ratios to the reference.
    """

    episodes: Sequence[GradedEpisode]
    rows: Sequence[Row]
    kl: np.ndarray
    samples: int


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Rows and their advantages [rows, attempts]; never empty.

    Where there is nothing to imitate, it is one row with advantages of 0. Rows to imitate have
    no sampled log-probs (NaN): no importance weight corrects for the policy that drew them.
    """

    rows: Sequence[Row]
    advantages: np.ndarray


LearningMethod = Callable[[GradedBatch, RewardCoefficients, Sequence[str]], TrainingBatch]


def reinforce(
    graded: GradedBatch, coefficients: RewardCoefficients, keep: Sequence[str]
) -> TrainingBatch:
    """Return all episodes, with the leave-one-out advantages of their shaped rewards."""
    rewards = torch.tensor([g.rewards for g in graded.episodes], dtype=torch.float64)
    shaped = shaped_rewards(rewards, torch.from_numpy(graded.kl), coefficients)
    return TrainingBatch(graded.rows, advantages(shaped, graded.samples).numpy())


def star(
    graded: GradedBatch, coefficients: RewardCoefficients, keep: Sequence[str]
) -> TrainingBatch:
    """Return the episodes whose outcome is in `keep`, to imitate."""
    both = zip(graded.episodes, graded.rows, strict=True)
    return _to_imitate([row for g, row in both if outcome(g) in keep], coefficients, graded.rows)


def pairs(
    graded: GradedBatch, coefficients: RewardCoefficients, keep: Sequence[str]
) -> TrainingBatch:
    """Return first attempts, each followed by a right answer to its problem, to imitate.

    A pair is taken if its outcome is in `keep`. The right answers are all right attempts of the
    problem's samples that the model ended itself. They are taken in turn, and a right first
    attempt is not followed by itself.
    """
    chosen: list[Row] = []
    for start in range(0, len(graded.episodes), graded.samples):
        group = graded.episodes[start : start + graded.samples]
        right = [attempt for g in group for attempt in _right_attempts(g)]
        for number, g in enumerate(group):
            first = g.episode.attempts[0]
            others = [attempt for attempt in right if attempt is not first]
            if OUTCOMES.get((g.verdicts[0] is Verdict.CORRECT, bool(others))) in keep:
                chosen.append(row_of(paired(g.episode, others[number % len(others)])))
    return _to_imitate(chosen, coefficients, graded.rows)


LEARNING_METHODS: dict[str, LearningMethod] = {
    "reinforce": reinforce,
    "star": star,
    "pairs": pairs,
}


def outcome(graded: GradedEpisode) -> str | None:
    """Return the episode's name in OUTCOMES; None if the last attempt is wrong."""
    first, last = graded.verdicts[0], graded.verdicts[-1]
    return OUTCOMES.get((first is Verdict.CORRECT, last is Verdict.CORRECT))


def paired(episode: Episode, answer: Attempt) -> Episode:
    """Return an episode of two attempts whose second one is another sample's answer.

    The policy did not draw that answer here: its log-probs are those of its own episode.
    """
    first, second = episode.attempts
    second = replace(answer, prompt_ids=second.prompt_ids)
    return replace(episode, attempts=(first, second))


def _right_attempts(graded: GradedEpisode) -> list[Attempt]:
    both = zip(graded.episode.attempts, graded.verdicts, strict=True)
    return [a for a, v in both if v is Verdict.CORRECT and a.finish is Finish.STOP]


def _to_imitate(
    kept: Sequence[Row], coefficients: RewardCoefficients, rows: Sequence[Row]
) -> TrainingBatch:
    if not kept:
        return TrainingBatch(rows[:1], np.zeros((1, len(coefficients.reward))))
    unknown = [replace(row, sampled_logprobs=(math.nan,) * len(row.token_ids)) for row in kept]
    return TrainingBatch(unknown, np.tile(np.array(coefficients.reward), (len(kept), 1)))
