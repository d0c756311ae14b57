"""Checks after every broadcast that engine and learner give the same log-probs.

The probe rows are fixed for the whole run, so the learner's scores from before the update are
known. An engine that still serves the old weights is therefore recognised even when a small
learning rate moves the log-probs by less than any absolute bound. In bfloat16 both sides round,
differently after every update, which hides a small update. The channel then keeps the older
scores (weight_channel.py) until several updates together differ clearly from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from score_ray.types import RunError

# Scores count as nearer to those of one version than to those of another if they are more than
# this many times as far from the other, on average over the probe. Rounding alone does not do that.
CLEAR_RATIO = 2.0
Scores = Sequence[Sequence[float]]


class WeightMismatch(RunError):
    """An engine that does not serve the learner's weights."""


def mean_abs_difference(first: Scores, second: Scores) -> float:
    """Return the mean |log-prob difference| over all tokens, in nats."""
    gaps = [
        abs(a - b)
        for row, other in zip(first, second, strict=True)
        for a, b in zip(row, other, strict=True)
    ]
    return sum(gaps) / len(gaps)


def check(engine: Scores, learner: Scores, before: Scores | None, bound: float, name: str) -> float:
    """Return the mean difference; raise WeightMismatch above `bound` or for stale weights.

    `before` are the learner's scores with older weights, None at the first broadcast. An engine
    is stale if its scores are clearly nearer to those.
    """
    gap = mean_abs_difference(engine, learner)
    if not gap <= bound:
        raise WeightMismatch(
            f"{name}: its log-probs differ from the learner's by {gap:.2e} nats on average "
            f"after a broadcast; weights.max_mismatch allows {bound:.0e}"
        )
    if before is not None and gap > CLEAR_RATIO * mean_abs_difference(engine, before):
        raise WeightMismatch(
            f"{name}: its log-probs are nearer to the learner's weights from before the update "
            f"than to the current ones ({gap:.2e} nats off): the broadcast did not take effect"
        )
    return gap


@dataclass(frozen=True)
class Probe:
    """Rows of tokens, and the learner's log-probs of them for a version of the weights.

    `before` are its log-probs for older weights, and `bound` is the largest mean difference.
    """

    version: int
    rows: list[tuple[int, ...]]
    expected: Scores
    before: Scores | None
    bound: float

    def check(self, scores: Scores, who: str) -> float:
        """Return the mean difference of an engine's scores; raise as the function `check` does."""
        return check(scores, self.expected, self.before, self.bound, who)


def probe_rows(rows: Sequence[tuple[int, ...]], num_tokens: int) -> list[tuple[int, ...]]:
    """Return the first rows that hold `num_tokens` together, the last one cut to fit."""
    chosen: list[tuple[int, ...]] = []
    for row in rows:
        left = num_tokens - sum(map(len, chosen))
        if left < 2:
            break
        chosen.append(row[:left])
    return chosen
