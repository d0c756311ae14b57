"""KL coefficients that steer an attempt's KL to a target ("adaptive beta2" of the paper, 5.3).

The paper gives no formula. This is the controller of Ziegler et al. (arXiv 1909.08593, 2.2),
proportional in the logarithm of the coefficient:

    e = clip(KL / target - 1, -0.2, 0.2)        beta <- beta (1 + K e)
"""

import math
from collections.abc import Sequence

CLIP = 0.2  # as published: one strange iteration moves a coefficient by no more than K * CLIP
# Published: 0.1, for thousands of updates. A stage here has tens, and 0.5 (at most 10 % an
# iteration) is a factor of ten in 24 of them; a full step would outrun the policy's answer.
GAIN = 0.5
# From its start, in either direction. Ten lies between the paper's two coefficients, 0.01 and
# 0.1; a target that needs more is out of reach, and the KL's alarm says so.
REACH = 10.0


def adapted(
    coefficients: Sequence[float],
    kl_means: Sequence[float],
    targets: Sequence[float | None],
    start: Sequence[float],
) -> tuple[float, ...]:
    """The next coefficients, one per attempt, from the last ones and the KL that they gave.

    `kl_means` and `targets` are nats per attempt; a target of None or 0, or no targets at all,
    leaves a coefficient as it is. `start` are the stage's own, which bound how far they go.
    """
    wanted = targets or (None,) * len(coefficients)
    rows = zip(coefficients, kl_means, wanted, start, strict=True)
    return tuple(_next(*row) for row in rows)


def _next(coefficient: float, kl: float, target: float | None, start: float) -> float:
    if not target or math.isnan(kl):
        return coefficient
    error = min(max(kl / target - 1, -CLIP), CLIP)
    return min(max(coefficient * (1 + GAIN * error), start / REACH), start * REACH)
