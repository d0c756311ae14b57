import pytest

from score_ray.tasks.arithmetic import Arithmetic
from score_ray.tasks.sums import Sums
from score_ray.types import Problem, Verdict


def test_questions_are_in_words_and_split_as_the_bare_sums_are():
    words, bare = Sums().problems("test"), Arithmetic().problems("test")
    assert [p.answer for p in words] == [p.answer for p in bare]
    a, b = bare[0].question.rstrip("=").split("+")
    assert words[0].question == f"What is {a} + {b}?"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("17 + 25 = 42", Verdict.CORRECT), ("42.", Verdict.CORRECT), ("42 is 17 + 25", Verdict.WRONG),
     ("43", Verdict.WRONG), ("forty-two", Verdict.NO_ANSWER)],
)  # fmt: skip
def test_the_last_number_counts(text, verdict):
    assert Sums().grade(Problem(0, "What is 17 + 25?", "42"), text) is verdict
