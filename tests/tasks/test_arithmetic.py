import pytest

from score_ray.tasks.arithmetic import Arithmetic, carries
from score_ray.types import Problem, Verdict


def test_splits_share_no_problem_and_hold_all_8100_sums():
    train, test = (Arithmetic().problems(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (7100, 1000)
    assert len({p.question for p in [*train, *test]}) == 8100
    assert all(eval(p.question[:-1]) == int(p.answer) for p in test[:50])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("85", Verdict.CORRECT), (" 85 ", Verdict.CORRECT), ("75", Verdict.WRONG),
     ("85=", Verdict.WRONG), ("", Verdict.NO_ANSWER), ("+", Verdict.NO_ANSWER)],
)  # fmt: skip
def test_an_attempt_is_correct_if_it_is_the_sum_and_nothing_else(text, verdict):
    assert Arithmetic().grade(Problem(0, "37+48=", "85"), text) is verdict


@pytest.mark.parametrize(
    ("text", "answer"), [("75", "75"), (" 85 \n", "85"), ("85=", "85="), ("", ""), ("+?", "")]
)
def test_the_answer_is_the_whole_text_where_it_has_a_digit(text, answer):
    assert Arithmetic().answer(text) == answer


@pytest.mark.parametrize(
    ("a", "b", "level"),
    [(12, 34, "0 carries"), (37, 48, "1 carry"), (50, 60, "1 carry"), (37, 68, "2 carries"),
     (99, 1, "2 carries"), (55, 45, "2 carries"), (1, 999, "3 carries")],
)  # fmt: skip
def test_carries_are_counted(a, b, level):
    assert carries(a, b) == level


def test_a_problem_has_its_carries_as_level():
    for problem in Arithmetic().problems("test")[:50]:
        a, b = map(int, problem.question[:-1].split("+"))
        assert problem.level == carries(a, b)
