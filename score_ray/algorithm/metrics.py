"""Measures graded episodes: accuracy per attempt, and the effect of the second attempt.

Every rate is a fraction of all episodes, so that delta = accuracy 2 - accuracy 1 =
i_to_c - c_to_i.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
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
    rewards: tuple[float, ...]  # mean
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
    transitions = Counter((g.verdicts[0].reward, g.verdicts[1].reward) for g in graded)
    fixed, broken = transitions[0.0, 1.0], transitions[1.0, 0.0]
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
        rewards=tuple(sum(g.rewards[i] for g in graded) / n for i in attempts),
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


def flat_shares(graded: Sequence[GradedEpisode]) -> tuple[float, ...]:
    """Return per attempt the share of groups whose rewards are all equal.

    Their advantages are 0, so they give no gradient. The result is empty if no problem has
    several samples.
    """
    groups: dict[int, list[tuple[float, ...]]] = {}
    for g in graded:
        groups.setdefault(g.episode.problem.index, []).append(g.rewards)
    compared = [rewards for rewards in groups.values() if len(rewards) > 1]
    attempts = len(graded[0].rewards) if compared else 0
    return tuple(
        sum(len({r[i] for r in rewards}) == 1 for rewards in compared) / len(compared)
        for i in range(attempts)
    )
