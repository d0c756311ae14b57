"""Metrics of graded episodes against values worked out by hand."""

from dataclasses import replace

import pytest

from score_ray.algorithm.metrics import (
    accuracy,
    edit_ratio,
    episode_metrics,
    eval_record,
    flat_shares,
)
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Problem, Verdict

C, W, CUT = Verdict.CORRECT, Verdict.WRONG, Verdict.TRUNCATED


def graded(texts: tuple[str, ...], verdicts: tuple[Verdict, ...]) -> GradedEpisode:
    """An episode with 2 completion tokens per attempt; TRUNCATED ones are cut."""
    attempts, prompt = [], (1,)
    for text, verdict in zip(texts, verdicts, strict=True):
        finish = Finish.LENGTH if verdict is CUT else Finish.STOP
        attempts.append(Attempt(prompt, (7, 8), (-0.1, -0.2), text, finish, 0))
        prompt = (*prompt, 7, 8, 9)
    return GradedEpisode.by_verdict(Episode(Problem(0, "q", "4"), 0, tuple(attempts)), verdicts)


FIVE = [
    graded(("abcd", "abcf"), (W, C)),  # i -> c, distance 1 of 8
    graded(("ab", "  ab\n"), (C, C)),  # the same but for white space, distance 3 of 7
    graded(("", ""), (CUT, CUT)),
    graded(("4", "5"), (C, W)),  # c -> i, distance 1 of 2
    graded(("1", "4"), (Verdict.NO_ANSWER, C)),  # i -> c, distance 1 of 2
]


def test_accuracy_by_hand():
    found = accuracy(FIVE)
    assert found.n == 5
    assert found.acc == (2 / 5, 3 / 5)
    assert (found.i_to_c, found.c_to_i, found.delta) == (2 / 5, 1 / 5, 1 / 5)
    assert found.changed == 3 / 5
    assert found.edit_ratio == pytest.approx((1 / 8 + 3 / 7 + 0 + 1 / 2 + 1 / 2) / 5)


def test_delta_is_both_differences():
    for episodes in (FIVE, FIVE[:1], FIVE[1:4], FIVE * 7):
        found = accuracy(episodes)
        assert found.delta == pytest.approx(found.acc[1] - found.acc[0])
        assert found.delta == pytest.approx(found.i_to_c - found.c_to_i)


def test_the_second_attempt_is_compared_even_when_there_is_a_third():
    found = accuracy([graded(("a", "b", "a"), (W, C, W)), graded(("a", "a", "b"), (W, W, C))])
    assert found.acc == (0.0, 0.5, 0.5)
    assert (found.i_to_c, found.delta, found.changed) == (0.5, 0.5, 0.5)


def test_a_single_attempt_has_no_rates():
    episodes = [graded(("a",), (C,)), graded(("b",), (W,))]
    found = accuracy(episodes)
    assert found.acc == (0.5,)
    assert found.i_to_c == found.c_to_i == found.delta == found.changed == found.edit_ratio == 0.0
    assert eval_record(episodes, 0, "t", "test")["acc_t2"] == 0.5
    assert "train/acc_t2" not in episode_metrics(episodes)


def test_edit_ratio():
    assert edit_ratio("", "") == 0.0
    assert edit_ratio("abc", "") == 1.0
    assert edit_ratio("kitten", "sitting") == 3 / 13


def test_flat_shares_count_groups_whose_samples_all_fare_alike():
    """Of problem 0 every sample has the same first attempt's reward; problem 1 has one sample."""
    two = [graded(("1", "4"), (W, C)), graded(("1", "1"), (W, W))]
    alone = replace(two[0], episode=replace(two[0].episode, problem=Problem(1, "q", "4")))
    assert flat_shares([*two, alone]) == [1.0, 0.0]
    assert flat_shares([alone]) == []


def test_no_or_uneven_episodes_are_refused():
    with pytest.raises(ValueError, match="no episodes"):
        accuracy([])
    with pytest.raises(ValueError, match="same number of attempts"):
        accuracy([FIVE[0], graded(("a",), (C,))])


def test_episode_metrics():
    assert episode_metrics(FIVE) == {
        "train/acc_t1": 0.4,
        "train/acc_t2": 0.6,
        "train/delta": 0.2,
        "train/i_to_c": 0.4,
        "train/c_to_i": 0.2,
        "train/changed": 0.6,
        "train/truncated_t1": 0.2,
        "train/truncated_t2": 0.2,
        "train/reward_t1": 0.4,
        "train/reward_t2": 0.6,
        "train/flat_t1": 0.0,
        "train/flat_t2": 0.0,
        "tokens/sampled": 20,
        "verdict/correct_t1": 2,
        "verdict/wrong_t1": 1,
        "verdict/no_answer_t1": 1,
        "verdict/truncated_t1": 1,
        "verdict/correct_t2": 3,
        "verdict/wrong_t2": 1,
        "verdict/truncated_t2": 1,
    }


def test_accuracies_are_of_first_attempts_that_the_policy_wrote_where_there_are_any():
    first, second = FIVE[0].episode.attempts
    given = replace(FIVE[0].episode, attempts=(replace(first, given=True), second))
    offline = GradedEpisode.by_verdict(given, (C, C))
    metrics = episode_metrics([*FIVE, offline])
    assert (metrics["train/acc_t1"], metrics["train/acc_t2"]) == (0.4, 0.6)
    assert metrics["tokens/sampled"] == 22
    assert episode_metrics([offline])["train/acc_t1"] == 1.0


def test_attempts_beyond_the_second_are_measured_too():
    record = eval_record([graded(("a", "b", "c"), (W, C, W))], 0, "sums", "test")
    assert (record["acc_t1"], record["acc_t2"], record["acc_t3"]) == (0.0, 1.0, 0.0)


def test_a_cut_attempt_may_be_correct():
    attempt = Attempt((1,), (2,), (-0.1,), "4", Finish.LENGTH, 0)
    metrics = episode_metrics(
        [GradedEpisode.by_verdict(Episode(Problem(0, "q", "4"), 0, (attempt,)), (C,))]
    )
    assert metrics["train/truncated_t1"] == metrics["train/acc_t1"] == 1.0


def test_eval_record_has_exactly_the_names_of_the_file():
    record = eval_record(FIVE, 3, "arithmetic", "test")
    names = "iteration, task, split, n, acc_t1, acc_t2, delta, i_to_c, c_to_i, changed, edit_ratio"
    assert ", ".join(record) == names
    assert (record["iteration"], record["task"], record["split"]) == (3, "arithmetic", "test")
    assert (record["n"], record["acc_t1"], record["acc_t2"]) == (5, 0.4, 0.6)
