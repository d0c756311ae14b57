"""Computes statistics of repeated runs: intervals over seeds, paired tests, McNemar's test.

These are functions of plain numbers. A single value says nothing about its spread: its interval
is infinite and its p is 1, so that no claim follows from it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

LEVEL = 0.05
ROUNDING = 1e-12  # differences below it come from rounding alone


class ClaimOutcome(StrEnum):
    """The outcome of testing a claim."""

    HOLDS = "holds"
    REVERSED = "reversed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over n seeds, and half the width of its 95 % t-interval."""

    n: int
    mean: float
    half: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of n differences, half the width of its 95 % t-interval, and p for a mean of 0."""

    n: int
    mean: float
    half: float
    p: float


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of some values and its interval; ValueError if there are none."""
    if not values:
        raise ValueError("no values to take the mean of")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(1, mean, math.inf)
    reach = stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * stats.sem(values)
    return Estimate(len(values), mean, float(reach))


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
    """Return ours minus theirs by seed, with a paired t-test over the seeds that both have.

    Raises ValueError if they have none in common.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    return _test([ours[seed] - theirs[seed] for seed in seeds])


def against(values: Sequence[float], number: float) -> Difference:
    """Return values minus a number without seeds, with a one-sample t-test.

    Raises ValueError if there are no values.
    """
    return _test([value - number for value in values])


def _test(differences: Sequence[float]) -> Difference:
    estimated = estimate(differences)
    n, mean = estimated.n, estimated.mean
    if n == 1:
        return Difference(1, mean, math.inf, 1.0)
    if max(differences) - min(differences) < ROUNDING:
        # Without any spread t is 0/0 or infinite, so p is 1 or 0.
        return Difference(n, mean, 0.0, float(abs(mean) < ROUNDING))
    p = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return Difference(n, mean, estimated.half, p)


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p-values of one family of tests, corrected for their number by Holm's method."""
    corrected, floor = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        floor = max(floor, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = floor
    return corrected


def mcnemar(fixed: int, broken: int) -> float:
    """Return the exact two-sided p of McNemar's test that as many answers break as are fixed."""
    changed = fixed + broken
    return float(stats.binomtest(fixed, changed).pvalue) if changed else 1.0


def outcome(difference: Difference, sign: int = 1) -> ClaimOutcome:
    """Return the outcome of the claim that a difference has this sign (1 or -1)."""
    if difference.p >= LEVEL:
        return ClaimOutcome.OPEN
    return ClaimOutcome.HOLDS if difference.mean * sign > 0 else ClaimOutcome.REVERSED
