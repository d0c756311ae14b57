import pytest

from score_ray.tasks.math import MathAnswers, gold_answer, last_boxed
from score_ray.types import Problem, Verdict

C, W, N = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER
PAPER = "Some steps. Final Answer: The final answer is ${}$. I hope it is correct."


@pytest.mark.parametrize(
    ("text", "gold", "verdict"),
    [
        (PAPER.format("72"), "She sold 24.\n#### 72", C),
        (PAPER.format("73"), "#### 72", W),
        (PAPER.format("1200"), "#### 1,200", C),
        (PAPER.format("1,200"), "#### 1200", C),
        (PAPER.format("-3"), "#### -3", C),
        (PAPER.format("3"), "#### -3", W),
        (PAPER.format(r"\frac{1}{2}"), r"so \boxed{0.5}", C),
        (PAPER.format("1/2"), r"\boxed{\frac{1}{2}}", C),
        (PAPER.format(r"\frac{1}{3}"), r"\boxed{\frac{1}{2}}", W),
        (PAPER.format(r"2\sqrt{2}"), r"\boxed{\sqrt{8}}", C),
        (PAPER.format("x^2+1"), r"\boxed{1+x^2}", C),
        (PAPER.format("(1,2)"), r"\boxed{(1,2)}", C),
        (PAPER.format("(2,1)"), r"\boxed{(1,2)}", W),
        (PAPER.format(r"\$18"), "#### 18", C),
        (r"The answer is \boxed{7}.", "#### 7", C),
        (r"First \boxed{6}, no: \boxed{7}", "#### 7", C),
        (r"First \boxed{7}, no: \boxed{6}", "#### 7", W),
        ("so 3 + 4 = 7", "#### 7", C),
        ("I cannot say.", "#### 7", N),
        ("", "#### 7", N),
        ("The final answer is $7$", "#### 7", C),
        ("Final Answer: The final answer is 7. I hope it is correct.", "#### 7", C),
        ("Final Answer: The final answer is $10\\%$. I hope it is correct.", "#### 10", C),
        (PAPER.format("5") + " " + PAPER.format("7"), "#### 7", C),
    ],
)
def test_grade(text, gold, verdict):
    assert MathAnswers("", "").grade(Problem(0, "q", gold), text) is verdict


def test_gold_answers_come_from_hashes_then_boxes_then_all_of_it():
    assert gold_answer("24/2 = 12\n#### 1,012") == "1012"
    assert gold_answer(r"so \boxed{\frac{a}{b}} it is") == r"\frac{a}{b}"
    assert gold_answer(" 12 ") == "12"


def test_last_boxed_balances_braces():
    assert last_boxed(r"\boxed{1} and \boxed{\sqrt{x_{2}}}") == r"\sqrt{x_{2}}"
    assert last_boxed("none") is None
    assert last_boxed(r"\boxed{open") is None
