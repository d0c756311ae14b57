"""The check after every broadcast: do engine and learner give the same log-probs?

The probe rows are fixed for the whole run. So the learner's scores from before the update
are at hand, and an engine that still serves the old weights is recognised even when a small
learning rate moves the log-probs by less than any absolute bound could tell. In bfloat16 both
sides' rounding, other after every update, hides a small one: then it is several together that
are looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from score_ray.types import RunError

# How many times as far from other weights as from its own an engine has to be, on average over
# the probe, for a verdict. Between weights that differ by rounding alone chance does not get there.
TELLING = 2.0
Scores = Sequence[Sequence[float]]


class WeightMismatch(RunError):
    """An engine does not serve the weights that the learner has."""


def mean_abs_difference(ours: Scores, theirs: Scores) -> float:
    """Mean over all tokens of |log-prob - log-prob|, in nats."""
    gaps = [
        abs(a - b)
        for row, other in zip(ours, theirs, strict=True)
        for a, b in zip(row, other, strict=True)
    ]
    return sum(gaps) / len(gaps)


def check(engine: Scores, learner: Scores, before: Scores | None, bound: float, name: str) -> float:
    """Return the mean difference; raise WeightMismatch above `bound` or for stale weights.

    `before` are the learner's scores ahead of the update, None at the first broadcast.
    An engine is stale if it is clearly nearer to those.
    """
    gap = mean_abs_difference(engine, learner)
    if not gap <= bound:
        raise WeightMismatch(
            f"{name}: its log-probs differ from the learner's by {gap:.2e} nats on average "
            f"after a broadcast; weights.max_mismatch allows {bound:.0e}"
        )
    if before is not None and gap > TELLING * mean_abs_difference(engine, before):
        raise WeightMismatch(
            f"{name}: its log-probs are nearer to the learner's weights from before the update "
            f"than to the current ones ({gap:.2e} nats off): the broadcast did not take effect"
        )
    return gap


@dataclass(frozen=True)
class Probe:
    """Rows of tokens, and what the learner gives for them at a version of the weights."""

    version: int
    rows: list[tuple[int, ...]]
    expected: Scores
    before: Scores | None
    bound: float

    def check(self, scores: Scores, who: str) -> float:
        """As the function `check`, for an engine's scores of the rows."""
        return check(scores, self.expected, self.before, self.bound, who)


def probe_rows(rows: Sequence[tuple[int, ...]], num_tokens: int) -> list[tuple[int, ...]]:
    """Rows from the front until they hold `num_tokens`, the last one cut to fit."""
    chosen: list[tuple[int, ...]] = []
    for row in rows:
        left = num_tokens - sum(map(len, chosen))
        if left < 2:
            break
        chosen.append(row[:left])
    return chosen
