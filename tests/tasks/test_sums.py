import re

import pytest

from score_ray.tasks.sums import Sums
from score_ray.types import Problem, Verdict


def test_splits_share_no_problem_and_hold_all_sums_up_to_the_largest_number():
    train, test = (Sums(held_out=40, largest=12).problems(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (104, 40)
    assert len({p.question for p in [*train, *test]}) == 144
    question = re.fullmatch(r"What is (\d+) \+ (\d+)\?", test[0].question)
    assert sum(map(int, question.groups())) == int(test[0].answer)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("17 + 25 = 42", Verdict.CORRECT), ("42.", Verdict.CORRECT), ("42 is 17 + 25", Verdict.WRONG),
     ("43", Verdict.WRONG), ("forty-two", Verdict.NO_ANSWER)],
)  # fmt: skip
def test_an_attempt_is_correct_if_its_last_number_is_the_sum(text, verdict):
    assert Sums().grade(Problem(0, "What is 17 + 25?", "42"), text) is verdict


@pytest.mark.parametrize(
    ("text", "answer"),
    [("17 + 25 = 42", "42"), ("It is 042.", "42"), ("42\n", "42"), ("0", "0"), ("000", "0"),
     ("forty-two", ""), ("", ""), ("9" * 10_000, "9" * 10_000)],
)  # fmt: skip
def test_the_answer_is_the_last_number_without_leading_zeros(text, answer):
    assert Sums().answer(text) == answer


def test_a_problem_has_its_carries_as_level():
    levels = {p.question: p.level for p in Sums(held_out=1, largest=99).problems("train")}
    assert levels["What is 5 + 12?"] == "0 carries"
    assert levels["What is 5 + 15?"] == "1 carry"
    assert levels["What is 5 + 95?"] == "2 carries"
