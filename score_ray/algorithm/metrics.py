"""Measures graded episodes: accuracy per attempt, and the effect of the second attempt.

Every rate is a fraction of all episodes, so that delta = accuracy 2 - accuracy 1 =
i_to_c - c_to_i. An attempt whose measurement failed is not known to be correct, and counts as
incorrect in these rates; `failed_shares` says how many there are. Means of rewards, and the
shares of flat groups, leave such attempts out.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from score_ray.types import Finish, GradedEpisode, Verdict


@dataclass(frozen=True, slots=True)
class Accuracies:
    """Accuracy per attempt, and attempt 2 compared with attempt 1 (0.0 if there is only one).

    `i_to_c` is the share of episodes that went from incorrect to correct, `c_to_i` the share
    that went from correct to incorrect. `changed` is the share in which the texts differ by
    more than white space at their ends.
    """

    per_attempt: tuple[float, ...]
    delta: float
    i_to_c: float
    c_to_i: float
    changed: float


@dataclass(frozen=True, slots=True)
class EpisodeStatistics:
    """Statistics of an iteration's episodes; tuples have one entry per attempt."""

    truncated: tuple[float, ...]  # share of attempts cut at the token limit
    rewards: tuple[float, ...]  # mean of those that were measured; NaN without any
    flat: tuple[float, ...]  # share of groups whose rewards are all equal; empty without groups
    sampled_tokens: int
    verdicts: tuple[Mapping[Verdict, int], ...]  # number of episodes; absent where 0

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return sum(self.verdicts[0].values()) if self.verdicts else 0

    @property
    def num_attempts(self) -> int:
        """Number of attempts of all episodes together."""
        return sum(sum(counts.values()) for counts in self.verdicts)

    def share(self, verdict: Verdict) -> float:
        """Return the share of all attempts that have a verdict."""
        return sum(counts.get(verdict, 0) for counts in self.verdicts) / max(self.num_attempts, 1)

    @property
    def failed_share(self) -> float:
        """Share of all attempts whose measurement failed."""
        return sum(self.share(verdict) for verdict in Verdict if not verdict.is_measured)

    def measured_share(self, attempt: int) -> float:
        """Return the share of an attempt, counted from 1, that was measured; 1.0 if unknown."""
        counts = self.verdicts[attempt - 1] if attempt <= len(self.verdicts) else {}
        measured = sum(n for verdict, n in counts.items() if verdict.is_measured)
        return measured / sum(counts.values()) if counts else 1.0


def measure_accuracies(graded: Sequence[GradedEpisode]) -> Accuracies:
    """Return the accuracies of a set of episodes.

    Raises ValueError if there are none, or if they differ in their number of attempts.
    """
    n, attempts = len(graded), count_attempts(graded)
    per_attempt = tuple(
        sum(g.verdicts[i] is Verdict.CORRECT for g in graded) / n for i in range(attempts)
    )
    if attempts == 1:
        return Accuracies(per_attempt, 0.0, 0.0, 0.0, 0.0)
    transitions = Counter(tuple(v is Verdict.CORRECT for v in g.verdicts[:2]) for g in graded)
    fixed, broken = transitions[False, True], transitions[True, False]
    texts = [(g.episode.attempts[0].text, g.episode.attempts[1].text) for g in graded]
    return Accuracies(
        per_attempt,
        # Counts are subtracted before the division, so that equal counts give exactly 0.
        delta=(fixed - broken) / n,
        i_to_c=fixed / n,
        c_to_i=broken / n,
        changed=sum(a.strip() != b.strip() for a, b in texts) / n,
    )


def training_accuracies(graded: Sequence[GradedEpisode]) -> Accuracies:
    """Return the accuracies of the episodes without a given attempt, or of all if there are none.

    A first attempt that was given says nothing about the policy. Raises ValueError as
    `measure_accuracies` does.
    """
    sampled = [g for g in graded if not g.episode.attempts[0].given]
    return measure_accuracies(sampled or graded)


def measure_episodes(graded: Sequence[GradedEpisode]) -> EpisodeStatistics:
    """Return the statistics of an iteration's episodes; raises as `measure_accuracies` does."""
    n, attempts = len(graded), range(count_attempts(graded))
    cut = [sum(g.episode.attempts[i].finish is Finish.LENGTH for g in graded) for i in attempts]
    counts = [Counter(g.verdicts[i] for g in graded) for i in attempts]
    return EpisodeStatistics(
        truncated=tuple(count / n for count in cut),
        rewards=tuple(_mean(g.rewards[i] for g in graded if g.is_measured[i]) for i in attempts),
        flat=flat_shares(graded),
        sampled_tokens=sum(
            len(a.completion_ids) for g in graded for a in g.episode.attempts if not a.given
        ),
        verdicts=tuple({v: count[v] for v in Verdict if count[v]} for count in counts),
    )


def count_attempts(graded: Sequence[GradedEpisode]) -> int:
    """Return the number of attempts that all episodes have.

    Raises ValueError if there are no episodes, or if they differ in it.
    """
    counts = {len(g.verdicts) for g in graded}
    if not counts:
        raise ValueError("no episodes to measure")
    if len(counts) > 1 or 0 in counts:
        raise ValueError(
            f"all episodes need the same number of attempts, 1 or more, not {sorted(counts)}"
        )
    return counts.pop()


def failed_shares(graded: Sequence[GradedEpisode]) -> tuple[float, ...]:
    """Return per attempt the share of episodes in which its measurement failed.

    Raises ValueError as `measure_accuracies` does.
    """
    attempts = range(count_attempts(graded))
    return tuple(sum(not g.is_measured[i] for g in graded) / len(graded) for i in attempts)


def flat_shares(graded: Sequence[GradedEpisode]) -> tuple[float, ...]:
    """Return per attempt the share of groups whose measured rewards are all equal.

    Their advantages are 0, so they give no gradient. Groups with less than two measured rewards
    are left out; without any other the share is NaN. The result is empty if no problem has
    several samples.
    """
    groups: dict[int, list[GradedEpisode]] = {}
    for g in graded:
        groups.setdefault(g.episode.problem.index, []).append(g)
    compared = [group for group in groups.values() if len(group) > 1]
    attempts = len(graded[0].rewards) if compared else 0
    return tuple(_flat_share(compared, i) for i in range(attempts))


def _flat_share(groups: Sequence[Sequence[GradedEpisode]], attempt: int) -> float:
    measured = ([g.rewards[attempt] for g in group if g.is_measured[attempt]] for group in groups)
    several = [rewards for rewards in measured if len(rewards) > 1]
    return _mean(len(set(rewards)) == 1 for rewards in several)


def _mean(values: Iterable[float]) -> float:
    """Return the mean, NaN of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else math.nan
