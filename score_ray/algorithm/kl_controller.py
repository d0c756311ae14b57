"""KL coefficients that steer an attempt's KL to a target ("adaptive beta2" of the paper, 5.3).

The paper gives no formula. This is the controller of Ziegler et al. (arXiv 1909.08593, 2.2),
proportional in the logarithm of the coefficient:

    e = clip(KL / target - 1, -0.2, 0.2)        beta <- beta (1 + K e)
"""

import math
from collections.abc import Sequence

# The published bound of e: one outlier changes a coefficient by a factor of at most 1 + K * CLIP.
CLIP = 0.2
# K of the formula. The published K is 0.1, for thousands of updates. A stage here has tens of
# them: with 0.5 (at most 10 % per iteration) a coefficient changes tenfold in 24 iterations. With
# 1 it would change faster than the policy can follow.
GAIN = 0.5
# The largest factor between a coefficient and its start, in either direction. The paper's two
# coefficients, 0.01 and 0.1, are as far apart. A target that needs more cannot be reached, and
# the alarm on the KL reports it.
MAX_FACTOR = 10.0


def adapt_coefficients(
    coefficients: Sequence[float],
    kl_means: Sequence[float],
    targets: Sequence[float | None],
    start: Sequence[float],
) -> tuple[float, ...]:
    """Return the next coefficients, one per attempt, from the last ones and the KL under them.

    `kl_means` and `targets` are in nats per attempt; a target of None or 0, or no targets at
    all, leaves a coefficient as it is. `start` has the stage's coefficients, which bound the
    next ones.
    """
    rows = zip(coefficients, kl_means, targets or [None] * len(coefficients), start, strict=True)
    return tuple(_next(*row) for row in rows)


def _next(coefficient: float, kl: float, target: float | None, start: float) -> float:
    if not target or math.isnan(kl):
        return coefficient
    error = min(max(kl / target - 1, -CLIP), CLIP)
    return min(max(coefficient * (1 + GAIN * error), start / MAX_FACTOR), start * MAX_FACTOR)
