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
def test_the_last_number_counts(text, verdict):
    assert Sums().grade(Problem(0, "What is 17 + 25?", "42"), text) is verdict
