"""Measures of graded episodes against values worked out by hand."""

import math
from dataclasses import replace

import pytest

from score_ray.algorithm.metrics import (
    Accuracies,
    EpisodeStatistics,
    failed_shares,
    flat_shares,
    measure_accuracies,
    measure_episodes,
    training_accuracies,
)
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Problem, Verdict
from tests.support.graded_episodes import FIVE, graded

C, W, CUT = Verdict.CORRECT, Verdict.WRONG, Verdict.TRUNCATED


def test_accuracies_by_hand():
    assert measure_accuracies(FIVE) == Accuracies(
        per_attempt=(2 / 5, 3 / 5), delta=1 / 5, i_to_c=2 / 5, c_to_i=1 / 5, changed=3 / 5
    )


def test_delta_is_both_differences():
    for episodes in (FIVE, FIVE[:1], FIVE[1:4], FIVE * 7):
        found = measure_accuracies(episodes)
        assert found.delta == pytest.approx(found.per_attempt[1] - found.per_attempt[0])
        assert found.delta == pytest.approx(found.i_to_c - found.c_to_i)


def test_the_second_attempt_is_compared_even_when_there_is_a_third():
    episodes = [graded(("a", "b", "a"), (W, C, W)), graded(("a", "a", "b"), (W, W, C))]
    assert measure_accuracies(episodes) == Accuracies((0.0, 0.5, 0.5), 0.5, 0.5, 0.0, 0.5)


def test_a_single_attempt_has_no_rates():
    episodes = [graded(("a",), (C,)), graded(("b",), (W,))]
    assert measure_accuracies(episodes) == Accuracies((0.5,), 0.0, 0.0, 0.0, 0.0)


def test_flat_shares_count_groups_whose_samples_all_have_the_same_reward():
    """Of problem 0 every sample has the same first attempt's reward; problem 1 has one sample."""
    two = [graded(("1", "4"), (W, C)), graded(("1", "1"), (W, W))]
    alone = replace(two[0], episode=replace(two[0].episode, problem=Problem(1, "q", "4")))
    assert flat_shares([*two, alone]) == (1.0, 0.0)
    assert flat_shares([alone]) == ()


@pytest.mark.parametrize("measure", [measure_accuracies, measure_episodes])
def test_no_or_uneven_episodes_are_refused(measure):
    with pytest.raises(ValueError, match="no episodes"):
        measure([])
    with pytest.raises(ValueError, match="same number of attempts"):
        measure([FIVE[0], graded(("a",), (C,))])


def test_episode_statistics_by_hand():
    statistics = measure_episodes(FIVE)
    assert statistics == EpisodeStatistics(
        truncated=(0.2, 0.2),
        rewards=(0.4, 0.6),
        flat=(0.0, 0.0),
        sampled_tokens=20,
        verdicts=({C: 2, W: 1, Verdict.NO_ANSWER: 1, CUT: 1}, {C: 3, W: 1, CUT: 1}),
    )
    assert (statistics.num_episodes, statistics.num_attempts) == (5, 10)


def test_accuracies_are_of_first_attempts_that_the_policy_wrote_where_there_are_any():
    first, second = FIVE[0].episode.attempts
    given = replace(FIVE[0].episode, attempts=(replace(first, given=True), second))
    offline = GradedEpisode.by_verdict(given, (C, C))
    assert training_accuracies([*FIVE, offline]).per_attempt == (0.4, 0.6)
    assert measure_episodes([*FIVE, offline]).sampled_tokens == 22
    assert training_accuracies([offline]).per_attempt[0] == 1.0


def test_a_cut_attempt_may_be_correct():
    attempt = Attempt((1,), (2,), (-0.1,), "4", Finish.LENGTH, 0)
    cut = [GradedEpisode.by_verdict(Episode(Problem(0, "q", "4"), 0, (attempt,)), (C,))]
    assert measure_episodes(cut).truncated == measure_accuracies(cut).per_attempt == (1.0,)


ERROR, TIMEOUT = Verdict.GRADER_ERROR, Verdict.TIMEOUT
# Attempt 1: failed, right, wrong. Attempt 2: right, failed, failed.
SOME_FAILED = [
    graded(("4", "4"), (ERROR, C)),
    graded(("4", "4"), (C, TIMEOUT)),
    graded(("1", "4"), (W, ERROR)),
]


def test_accuracies_stay_shares_of_all_episodes_and_the_failed_share_is_beside_them():
    found = measure_accuracies(SOME_FAILED)
    assert found.per_attempt == (1 / 3, 1 / 3)
    assert found.delta == found.i_to_c - found.c_to_i == 0.0
    assert (found.i_to_c, found.c_to_i) == (1 / 3, 1 / 3)
    assert failed_shares(SOME_FAILED) == (1 / 3, 2 / 3)
    assert failed_shares(FIVE) == (0.0, 0.0)


def test_means_of_rewards_leave_failed_measurements_out():
    statistics = measure_episodes(SOME_FAILED)
    assert statistics.rewards == (1 / 2, 1.0)
    assert statistics.share(ERROR) == 2 / 6
    assert statistics.share(TIMEOUT) == 1 / 6
    assert [statistics.measured_share(i) for i in (1, 2, 3)] == [2 / 3, 1 / 3, 1.0]
    assert math.isnan(measure_episodes([graded(("4",), (ERROR,))]).rewards[0])


def test_flat_groups_are_those_whose_measured_rewards_are_equal():
    """Attempt 1 of the problem has 1 and 0 beside the failed one; attempt 2 has one reward."""
    first, second = flat_shares(SOME_FAILED)
    assert first == 0.0
    assert math.isnan(second)
    same = [graded(("4",), (C,)), graded(("4",), (TIMEOUT,)), graded(("4",), (C,))]
    assert flat_shares(same) == (1.0,)
