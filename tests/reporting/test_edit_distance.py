import pytest

from score_ray.reporting.edit_distance import edit_ratio, mean_edit_ratio
from score_ray.types import Verdict
from tests.support.graded_episodes import FIVE, graded


def test_the_edit_ratio_is_the_distance_over_both_lengths():
    assert edit_ratio("", "") == 0.0
    assert edit_ratio("abc", "") == 1.0
    assert edit_ratio("kitten", "sitting") == 3 / 13


def test_the_mean_is_over_the_first_two_attempts_of_all_episodes():
    assert mean_edit_ratio(FIVE) == pytest.approx((1 / 8 + 3 / 7 + 0 + 1 / 2 + 1 / 2) / 5)
    assert mean_edit_ratio([graded(("a",), (Verdict.CORRECT,))]) == 0.0
