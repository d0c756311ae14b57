import math

import pytest

from score_ray.experiments.suites.statistics import (
    ClaimOutcome,
    Difference,
    against,
    estimate,
    holm,
    mcnemar,
    outcome,
    paired,
)

T_2 = 4.302653  # 97.5 % quantile of t with two degrees of freedom
# By hand for .1, .2, .3: standard error .1/sqrt(3), t = 2 sqrt(3), and with two degrees of
# freedom p = 1 - t/sqrt(t^2 + 2).
HALF = T_2 * 0.1 / math.sqrt(3)
P = 1 - math.sqrt(12 / 14)


def test_an_interval_is_that_of_students_t():
    estimated = estimate([1.0, 2.0, 3.0])
    assert (estimated.n, estimated.mean) == (3, 2.0)
    assert estimated.half == pytest.approx(T_2 / math.sqrt(3))
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_a_paired_test_takes_the_seeds_that_both_have():
    ours = {0: 0.5, 1: 0.7, 2: 0.9, 3: 0.1}
    theirs = {2: 0.6, 1: 0.5, 0: 0.4, 7: 0.9}
    difference = paired(ours, theirs)
    assert difference.n == 3
    assert [difference.mean, difference.half, difference.p] == pytest.approx([0.2, HALF, P])
    with pytest.raises(ValueError, match="no values"):
        paired({0: 1.0}, {1: 1.0})


def test_values_are_tested_against_a_number_without_seeds_in_one_sample():
    difference = against([0.5, 0.6, 0.7], 0.4)
    assert [difference.mean, difference.half, difference.p] == pytest.approx([0.2, HALF, P])


def test_one_seed_proves_nothing():
    assert paired({0: 0.9}, {0: 0.1}) == Difference(1, pytest.approx(0.8), math.inf, 1.0)


def test_differences_without_spread_have_a_p_all_the_same():
    same = paired({0: 0.3, 1: 0.4}, {0: 0.3, 1: 0.4})
    assert same == Difference(2, 0.0, 0.0, 1.0)
    # 0.3 - 0.2 and 0.4 - 0.3 differ in their last digits only.
    shifted = paired({0: 0.3, 1: 0.4}, {0: 0.2, 1: 0.3})
    assert shifted == Difference(2, pytest.approx(0.1), 0.0, 0.0)


def test_holm_multiplies_by_the_tests_left_and_never_goes_down():
    # Sorted .01, .03, .04: 3 x .01, 2 x .03, and 1 x .04, which may not be below .06.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_mcnemar_is_exact():
    assert mcnemar(5, 0) == pytest.approx(2 / 2**5)
    assert mcnemar(0, 0) == mcnemar(4, 4) == 1.0
    # The paper's SCoRe on MATH500: 29 fixed, 7 broken; and its base model, 23 and 79.
    tail = sum(math.comb(36, k) for k in range(8)) / 2**36
    assert mcnemar(29, 7) == pytest.approx(2 * tail) == pytest.approx(3e-4, rel=0.05)
    assert mcnemar(23, 79) == pytest.approx(2 * sum(math.comb(102, k) for k in range(24)) / 2**102)


@pytest.mark.parametrize(
    ("mean", "p", "sign", "expected"),
    [
        (0.1, 0.049, 1, ClaimOutcome.HOLDS),
        (-0.1, 0.049, 1, ClaimOutcome.REVERSED),
        (-0.1, 0.049, -1, ClaimOutcome.HOLDS),
        (0.1, 0.05, 1, ClaimOutcome.OPEN),
    ],
)
def test_a_claim_holds_is_reversed_or_stays_open(mean, p, sign, expected):
    assert outcome(Difference(5, mean, 0.1, p), sign) is expected
