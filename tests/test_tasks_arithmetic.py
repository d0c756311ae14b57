import pytest

from score_ray.tasks.arithmetic import Arithmetic
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
def test_grade(text, verdict):
    assert Arithmetic().grade(Problem(0, "37+48=", "85"), text) is verdict
