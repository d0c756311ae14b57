import math

import pytest

from score_ray.algorithm.kl_controller import CLIP, GAIN, MAX_FACTOR, adapt_coefficients


def replay(start, kl_means, targets):
    """The coefficients after one iteration with each of these KLs."""
    coefficients = start
    for means in kl_means:
        coefficients = adapt_coefficients(coefficients, means, targets, start)
    return coefficients


def test_constants_are_those_of_the_hand_computed_values_below():
    assert (CLIP, GAIN, MAX_FACTOR) == (0.2, 0.5, 10.0)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (2.0, 0.1),  # at the target
        (2.2, 0.105),  # error .1: times 1.05
        (1.8, 0.095),
        (50.0, 0.11),  # error 24, clipped to .2: times 1.1
        (0.0, 0.09),
        (-0.5, 0.09),  # an estimate of a small KL may be negative
        (math.inf, 0.11),
        (math.nan, 0.1),
    ],
)
def test_a_coefficient_follows_the_relative_error(kl, expected):
    assert adapt_coefficients((0.1,), (kl,), (2.0,), (0.1,)) == pytest.approx((expected,))


def test_each_attempt_has_its_own_target_and_without_one_keeps_its_coefficient():
    found = adapt_coefficients((0.1, 0.2, 0.3), (4.0, 4.0, 4.0), (None, 0.0, 2.0), (0.1, 0.2, 0.3))
    assert found == pytest.approx((0.1, 0.2, 0.33))
    assert adapt_coefficients((0.1, 0.2), (4.0, 4.0), (), (0.1, 0.2)) == (0.1, 0.2)


def test_a_coefficient_stays_within_a_factor_of_its_start():
    assert replay((0.1,), [(99.0,)] * 200, (1.0,)) == pytest.approx((1.0,))
    assert replay((0.1,), [(0.0,)] * 200, (1.0,)) == pytest.approx((0.01,))
    assert replay((0.0,), [(99.0,)] * 200, (1.0,)) == (0.0,)


def test_different_numbers_of_coefficients_and_kls_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        adapt_coefficients((0.1, 0.1), (1.0,), (1.0, 1.0), (0.1, 0.1))


def test_coefficients_are_replayed_from_one_iteration_to_the_next():
    # Up by 1.1, then error -.1 (times .95), then at the target.
    assert replay((0.2,), [(9.0,), (0.9,), (1.0,)], (1.0,)) == pytest.approx((0.2 * 1.1 * 0.95,))
    assert replay((0.2,), [], (1.0,)) == (0.2,)


@pytest.mark.parametrize("lag", [1, 5, 15])
@pytest.mark.parametrize("power", [1, 2])
def test_a_policy_that_answers_late_settles_at_the_target(lag, power):
    """A toy policy goes 1 / lag of the way to its optimum, whose KL is (0.1 / beta) ** power."""
    start = coefficients = (0.1,)
    kl, seen = 0.0, []
    for _ in range(120):
        kl += ((0.1 / coefficients[0]) ** power - kl) / lag
        seen.append(kl)
        coefficients = adapt_coefficients(coefficients, (kl,), (0.4,), start)
    # In balance (0.1 / beta) ** power = 0.4.
    assert coefficients == pytest.approx((0.1 / 0.4 ** (1 / power),), rel=0.05)
    assert seen[60:] == pytest.approx([0.4] * 60, rel=0.15)
