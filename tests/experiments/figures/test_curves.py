import pytest

from score_ray.experiments.figures.curves import (
    Band,
    attempt_curve,
    changed_share,
    changed_training_curve,
    edit_histogram,
    flips_by_level,
    majority_is_right,
    natural_sort_key,
    over_seeds,
    rate,
    voted_accuracy,
    voting_curves,
)
from score_ray.experiments.figures.series import RunRecords
from score_ray.reporting.run_folder import RunFolder
from tests.support.sample_figure_run import evaluation, line, make_run, write


def votes(answers: str, gold: str = "1") -> list[tuple[str, bool]]:
    """Return a vote per letter; "-" gives no answer."""
    return [(a.strip("-"), a == gold) for a in answers]


@pytest.mark.parametrize(
    ("answers", "right"),
    [
        ("1", True), ("2", False), ("-", False), ("---", False),
        ("112", True), ("122", False),
        ("12", True), ("21", False),  # a tie: the one that was seen first
        ("2112", False), ("1221", True),  # also where the other reached two votes first
        ("1233", False), ("3211", True),
        ("--1", True), ("-22-1", False),  # no answer is no vote
    ],
)  # fmt: skip
def test_a_vote_is_won_by_the_most_frequent_answer_and_a_tie_by_the_first_seen(answers, right):
    assert majority_is_right(votes(answers)) is right


def test_an_answer_that_one_grading_found_right_is_right():
    assert majority_is_right([("1", False), ("1", True)])


def test_a_small_vote_is_averaged_over_all_disjoint_votes():
    problems = [votes("1122"), votes("2111")]
    assert voted_accuracy(problems, 1) == pytest.approx((2 / 4 + 3 / 4) / 2)
    # 11 is right, 22 is not; 21 is a tie that 2 wins, 11 is right.
    assert voted_accuracy(problems, 2) == pytest.approx((1 / 2 + 1 / 2) / 2)
    # 1122 is a tie that 1 wins; 2111 is right.
    assert voted_accuracy(problems, 4) == 1.0
    # Only one vote of three is possible, and the last vote is left over: 112, 211.
    assert voted_accuracy(problems, 3) == 1.0


def test_a_second_attempt_costs_twice_as_much_as_a_first_attempt():
    episodes = ["1 2", "1 2", "2 1", "3 1"]  # firsts 1123, seconds 2211
    records = [line(0, texts, sample=i) for i, texts in enumerate(episodes)]
    parallel, sequential = voting_curves(records, str.strip)
    assert parallel == {2: 0.5, 4: 1.0}  # 11 and 23; 1123
    # At 2 one second attempt alone, at 4 votes of two: 22 and 11.
    assert sequential == {2: 0.5, 4: 0.5}


def test_budgets_are_the_powers_of_two_that_every_problem_has_samples_for():
    records = [line(p, "1 1", sample=s) for p, n in ((0, 9), (1, 7)) for s in range(n)]
    assert [list(curve) for curve in voting_curves(records, str)] == [[2, 4], [2, 4]]
    assert voting_curves([], str) == ({}, {})
    assert voting_curves([line(0, "1 1")], str) == ({}, {})


def test_samples_vote_in_the_order_of_their_numbers():
    records = [line(0, "1 1", sample=1), line(0, "2 2", sample=0)]
    assert voting_curves(records, str)[0] == {2: 0.0}


def test_accuracy_is_measured_for_each_attempt():
    records = [line(0, "1 2 1"), line(1, "2 1 1"), line(2, "2 2 1"), line(3, "2 2 2")]
    assert attempt_curve(records) == {1: 0.25, 2: 0.25, 3: 0.75}
    assert attempt_curve([]) == {}


def test_a_change_is_another_answer_not_another_text():
    records = [line(0, "1 1."), line(1, "1 2")]
    assert changed_share(records, lambda text: text) == 1.0
    assert changed_share(records, lambda text: text.rstrip(".")) == 0.5


def test_edit_ratios_fall_into_bins_of_a_twentieth():
    # Distance over both lengths: 0/4, 1/4 (on an edge), 2/4, and 1/3.
    records = [line(0, "12 12"), line(1, "12 13"), line(2, "12 34"), line(3, "12 1")]
    shares = edit_histogram(records)
    assert len(shares) == 20
    assert {i: share for i, share in shares.items() if share} == dict.fromkeys((0, 5, 6, 10), 0.25)
    assert edit_histogram([]) == {}


def test_a_ratio_of_one_is_in_the_last_bin():
    record = {**line(0, "1 1"), "attempts": ["1", ""]}
    assert edit_histogram([record])[19] == 1.0


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [  # by hand: (k + z^2/2 -+ z sqrt(k (n - k) / n + z^2/4)) / (n + z^2), z = 1.959964
        (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (5, 10, 0.236593, 0.763407),
        (1, 100, 0.001767, 0.054486),
    ],
)  # fmt: skip
def test_shares_have_wilson_intervals(count, n, low, high):
    interval = rate(count, n)
    assert interval.value == count / n
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)


def test_flips_are_shares_of_all_problems_of_a_level():
    records = [
        *(line(i, "2 1", level="Level 2") for i in range(3)),
        line(3, "1 2", level="Level 2"),
        line(4, "1 1", level="Level 10"),
        line(5, "2 2", level=""),
    ]
    two, ten = flips_by_level([records])
    assert (two.name, two.n, two.i_to_c.value, two.c_to_i.value) == ("Level 2", 4, 0.75, 0.25)
    assert (ten.name, ten.n, ten.i_to_c.value, ten.c_to_i.value) == ("Level 10", 1, 0.0, 0.0)


def test_seeds_are_averaged_and_do_not_narrow_the_interval():
    one = [line(0, "2 1", level="a"), line(1, "1 1", level="a")]
    other = [line(0, "2 2", level="a"), line(1, "1 1", level="a")]
    (both,) = flips_by_level([one, other, []])
    assert (both.n, both.i_to_c.value) == (2, 0.25)
    assert both.i_to_c.high - both.i_to_c.low >= rate(1, 4).high - rate(1, 4).low
    (twice,), (once,) = flips_by_level([one, one]), flips_by_level([one])
    assert twice == once


def test_without_levels_or_with_too_many_there_are_no_flips():
    assert flips_by_level([[line(0, "1 1")]]) == []
    assert flips_by_level([]) == []
    assert flips_by_level([[line(i, "1 1", level=str(i)) for i in range(13)]]) == []


def test_levels_with_numbers_are_sorted_by_the_numbers():
    assert sorted(["10", "9", "Level 10", "Level 9"], key=natural_sort_key) == [
        "9", "10", "Level 9", "Level 10",
    ]  # fmt: skip


def test_a_band_covers_the_points_that_all_seeds_have():
    band = over_seeds([{0: 0.1, 2: 0.5, 4: 1.0}, {2: 0.7, 0: 0.3}, {}])
    assert band == Band((0, 2), pytest.approx((0.2, 0.6)), (0.1, 0.5), (0.3, 0.7))
    assert over_seeds([{}, {}]) is None
    assert over_seeds([]) is None
    assert over_seeds([{0: 1.0}, {1: 1.0}]) is None


def test_training_has_a_share_of_changes_only_where_changed_texts_are_changed_answers(tmp_path):
    folder = make_run(tmp_path / "run")
    assert changed_training_curve(RunRecords(RunFolder(folder))) == dict.fromkeys(range(4), 0.5)
    write(folder / "evals.jsonl", [evaluation(0, 0, 0, 1 / 3), evaluation(4, 0, 0, 1.0)])
    assert changed_training_curve(RunRecords(RunFolder(folder))) == {}
