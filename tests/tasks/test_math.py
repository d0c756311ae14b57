import re
import time
from pathlib import Path

import psutil
import pytest

from score_ray.tasks import math
from score_ray.tasks.math import (
    MathAnswers,
    given_answer,
    gold_answer,
    last_boxed,
    same_answer,
)
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.types import Attempt, Episode, Finish, Problem, Verdict

C, W, N = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER
PAPER = "Some steps. Final Answer: The final answer is ${}$. I hope it is correct."
# The forms that answers of the MATH and GSM8K data sets have.
FORMS = Path("tests/fixtures/math_answers.txt").read_text().splitlines()
MATH = MathAnswers("", "")


def judge(gold: str, text: str) -> Verdict:
    return MATH.grade(Problem(0, "q", gold), text)


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
        (PAPER.format(r"\$18"), "#### 18", C),
        (PAPER.format(r"10\%"), "#### 10", C),
        (PAPER.format("5") + " " + PAPER.format("7"), "#### 7", C),
        (PAPER.format("7") + " " + PAPER.format("5"), "#### 7", W),
        (PAPER.format("7") + "\n\nHuman: thanks, 8 is nice<|im_end|>", "#### 7", C),
        ("**Final Answer:** The final answer is **$7$**. I hope it is correct.", "#### 7", C),
        ("Final Answer: The final answer is 7. I hope it is correct.", "#### 7", C),
        ("Final Answer: The final answer is 7.5. I hope it is correct.", "#### 7.5", C),
        ("Final Answer: The final answer is $18. I hope it is correct.", "#### 18", C),
        ("The final answer is $18. I hope it is correct. Or $3$?", "#### 18", C),
        ("Final Answer: The final answer is $7$ apples. I hope it is correct!", "#### 7", C),
        ("Final answer: the final answer is 7 apples I hope it is correct", "#### 7", C),
        ("The final answer is: $7$", "#### 7", C),
        ("The final answer is $7$. It was 6 before that.", "#### 7", C),
        ("The final answer is\n$$\n7\n$$", "#### 7", C),
        (r"The final answer is \(7\).", "#### 7", C),
        (r"The final answer is \[7\]", "#### 7", C),
        (r"The final answer is $\boxed{7}$. I hope it is correct.", "#### 7", C),
        ("The final answer is the pair $(1,2)$ of numbers.", r"\boxed{(1,2)}", C),
        ("The final answer is $x=1$ and $x=2$. I hope it is correct.", r"\boxed{1,2}", C),
        ("The final answer is $7$ or $8$. I hope it is correct.", "#### 7", W),
        (PAPER.format("7, 8"), "#### 7", W),
        (PAPER.format("answer"), "#### 7", W),
        (r"The answer is \boxed{7}.", "#### 7", C),
        (r"So it is \boxed{7 }", "#### 7", C),
        (r"So it is \boxed 7", "#### 7", C),
        (r"So it is \fbox{7}", "#### 7", C),
        (r"First \boxed{6}, no: \boxed{7}", "#### 7", C),
        (r"First \boxed{7}, no: \boxed{6}", "#### 7", W),
        (r"\boxed{6}. " + PAPER.format("7"), "#### 7", C),
        (PAPER.format("6") + r" No, \boxed{7}.", "#### 7", C),
        (r"\boxed{\frac{\sqrt{x_{1}}}{2}}", r"\boxed{\frac{1}{2}\sqrt{x_1}}", C),
        ("Steps.\n#### 7", "#### 7", C),
        ("The answer is 7.", "#### 7", C),
        ("**Answer:** 7", "#### 7", C),
        ("My answer is 8. " + PAPER.format("7"), "#### 7", C),
        ("7", "#### 7", C),
        ("$7$", "#### 7", C),
        # A number that is only a step on the way, or the last one before the cut, is none.
        ("so 3 + 4 = 7", "#### 7", N),
        ("She sold 7", "#### 7", N),
        ("I cannot say.", "#### 7", N),
        ("", "#### 7", N),
        (" \n", "#### 7", N),
        ("The final answer is", "#### 7", N),
        ("The final answer is $", "#### 7", N),
        ("Final Answer: The final answer is . I hope it is correct.", "#### 7", N),
        (r"So it is \boxed{7", "#### 7", N),
        (r"So it is \boxed{}", "#### 7", N),
        (r"So it is \boxed", "#### 7", N),
        (r"The final answer is $\frac{7}{", "#### 7", W),
    ],
)
def test_grade(text, gold, verdict):
    assert judge(gold, text) is verdict


SAME = [
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{Evelyn}", r"\textbf{evelyn}"),
    (r"\text{(C)}", "C"),
    ("C", r"\textbf{(C)}"),
    (r"\mbox{four}", "four"),
    (r"\text{A,B}", r"B, A"),
    ("5", "x=5"),
    ("x=5", "5"),
    ("7", "3 + 4 = 7"),
    (r"10\%", "10"),
    ("90", r"90^\circ"),
    ("90", "90°"),
    ("90", "90 degrees"),
    (r"\$18", "18.00"),
    ("18", "18 dollars"),
    ("72", "72 marbles"),
    (r"5\text{ cm}^2", "5"),
    ("1,234", "1234"),
    ("1234", "1{,}234"),
    ("1234", r"1\,234"),
    ("1234", r"1,\!234"),
    (r"3\frac{1}{2}", r"\frac72"),
    ("3.5", "3 1/2"),
    ("0.5", ".50"),
    ("5", "5."),
    (r"2007 + \frac\pi 2", r"2007+\frac{\pi}{2}"),
    (r"1\pm\sqrt{2}", r"1-\sqrt2, 1+\sqrt2"),
    ("1,2", r"2 \text{ and } 1"),
    ("1,2", "x = 1 or x = 2"),
    ("1,2", r"\{2,1\}"),
    (r"(-\infty,2]\cup[3,\infty)", r"(-\infty, 2] \cup [3, \infty)"),
    ("[1,2]", r"x \in [1,2]"),
    ("[1,2]", r"1 \le x \le 2"),
    (r"x\ge 3", r"[3,\infty)"),
    (r"\emptyset", r"\varnothing"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}.", r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"),
    (r"\begin{pmatrix} 1 & -1 \\ 1 & \phantom -1 \end{pmatrix}", r"\begin{pmatrix} 1 & -1 \\ 1 & 1 \end{pmatrix}"),
    ("2:3", "2 : 3"),
    (r"8\!:\!34 \text{ p.m.}", "8:34 p.m."),
    ("6+9i", "9i+6"),
    ("x^2+1", "1+x^2"),
    ("y = 2x+3", "2x+3"),
    (r"6 \times 10^4", "60000"),
    ("52_8", "52_{8}"),
    ("52_8", "52"),
    (r"\text{A5}_{11}", "A5_{11}"),
    (r"\frac{\sqrt3}{3}", r"\frac{1}{\sqrt3}"),
    (r"\frac{1}{2^{98}}", "2^{-98}"),
    ("0", r"\sqrt{2}\sqrt{3}-\sqrt{6}"),
]  # fmt: skip

DIFFERENT = [
    (r"\text{Evelyn}", "Carla"),
    (r"\text{odd}", "even"),
    (r"\text{(C)}", "B"),
    (r"\text{CBAD}", "ABCD"),
    ("LQSX", "XSQL"),
    (r"\text{A,B}", "A,C"),
    ("x=5", "y=5"),
    ("5", "x>5"),
    ("5", "-5"),
    ("5", "5i"),
    ("5", "5 million"),
    ("5", "5 or 6"),
    ("7", "3 4"),
    (r"10\%", "1"),
    ("0.1", "10"),
    ("12", "1,2"),
    ("1,2", "1"),
    ("1,2,3", "1,2"),
    ("-1,3,3", "-1,3"),
    ("5", "5,5"),
    (r"1\pm\sqrt{2}", r"1+\sqrt2"),
    ("(1,2)", "(2,1)"),
    ("(3,1)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[1,2]", "[1,2)"),
    ("x>5", r"x\ge 5"),
    (r"\infty", r"-\infty"),
    (r"\frac{1}{3}", "0.33"),
    (r"\pi", "3.14"),
    ("3.5", r"3 \cdot \frac12"),
    ("2:3", "3:2"),
    ("10:30", "10:45"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ -1 \end{pmatrix}.", r"\begin{pmatrix} 7 \\ -1 \end{pmatrix}."),
    (r"2007 + \frac\pi 2", r"2047 + \frac\pi 2"),
    ("52_8", "52_5"),
    ("52_8", "42"),
    (r"\frac{1}{2^{98}}", r"\frac{1}{2^{88}}"),
    (r"\frac{1}{2^{98}}", r"-\frac{1}{2^{98}}"),
    ("0.0000001", "0.0000002"),
    ("0", "0.0000001"),
    ("2^{100}", "2^{100}+1"),
    ("1000000", "1000001"),
    ("x+1", "y+1"),
    ("0", r"\text{none}"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "given"), SAME)
def test_another_way_to_write_the_answer_is_right(gold, given):
    assert same_answer(gold, given)


@pytest.mark.parametrize(("gold", "given"), DIFFERENT)
def test_another_answer_is_wrong(gold, given):
    assert not same_answer(gold, given)


@pytest.mark.parametrize("gold", FORMS)
def test_an_answer_of_any_form_is_right_in_both_wrappings_and_wrong_with_another_digit(gold):
    assert judge(gold, PAPER.format(gold)) is C
    assert judge(rf"so \boxed{{{gold}}}", rf"so $x+1=4$ and \boxed{{{gold}}}.") is C
    if place := re.search(r"\d", gold):
        other = f"{gold[: place.start()]}{(int(place[0]) + 1) % 10}{gold[place.end() :]}"
        assert judge(gold, PAPER.format(other)) is W
        assert judge(gold, rf"so \boxed{{{other}}}.") is W


def test_gold_answers_come_from_hashes_then_boxes_then_all_of_it():
    assert same_answer(gold_answer("24/2 = 12\n#### 1,012"), "1012")
    assert gold_answer(r"so \boxed{\frac{a}{b}} it is") == r"\frac{a}{b}"
    assert gold_answer(" 12 ") == "12"


@pytest.mark.parametrize(
    "answer",
    ["", " ", "####", "12\n####  ", r"so \boxed{}", r"so \boxed{1", "$", "It is so. We add up 3 and 4.", "she sold 7 in May and then half as many in June or July"],
)  # fmt: skip
def test_a_gold_answer_from_which_nothing_can_be_read_is_an_error_and_never_a_wrong(answer):
    with pytest.raises(ValueError, match=r"no final answer in .*####, in \\boxed{}, or alone"):
        judge(answer, PAPER.format("7"))


def test_such_a_gold_answer_is_named_by_its_row_when_the_data_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1", "answer": "2"}\n{"question": "1", "answer": "####"}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl: row 1: no final answer in '####'"):
        MathAnswers(str(path), str(path)).problems("train")


def test_last_boxed_balances_braces():
    assert last_boxed(r"\boxed{1} and \boxed{\sqrt{x_{2}}}") == r"\sqrt{x_{2}}"
    assert last_boxed("none") is None
    assert last_boxed(r"\boxed{open") is None


def test_given_answer_is_the_formula_alone():
    assert given_answer(PAPER.format(r"\frac{1}{2}")) == r"$\frac{1}{2}$"


def one_attempt(text: str) -> Episode:
    attempt = Attempt((1,), (2,), (-1.0,), text, Finish.STOP, 0)
    return Episode(Problem(0, "q", "7"), 0, (attempt,))


@pytest.fixture
def grader():
    grader = ProcessGrader(MATH, num_workers=1, deadline=3.0)
    yield grader
    grader.close()
    assert not [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]


def test_answers_that_would_keep_sympy_busy_for_ever_time_out_and_grading_goes_on(grader):
    for answer in ("9^{9^{9^{9}}}", "10^{10^{10}}", "(10^{10})!", r"\prod_{k=1}^{10^9} k!"):
        grader.submit([one_attempt(PAPER.format(answer)), one_attempt(PAPER.format("7"))])
        verdicts = [g.verdicts[0] for g in grader.collect()]
        assert verdicts == [Verdict.TIMEOUT, Verdict.CORRECT], answer


def test_deeply_nested_and_very_long_answers_are_not_right_and_grading_goes_on(grader):
    deep = [r"\sqrt{" * 60 + "7" + "}" * 60, r"\frac{1}{" * 200 + "7" + "}" * 200]
    for answer in (*deep, "{" * 5000, "9" * 20000, "7," * 3000, r"\pm" * 40 + "7", "$" * 3000):
        grader.submit([one_attempt(PAPER.format(answer)), one_attempt(PAPER.format("7"))])
        first, second = (g.verdicts[0] for g in grader.collect())
        assert first is not Verdict.CORRECT, answer[:20]
        assert second is Verdict.CORRECT, answer[:20]


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        ((PAPER.format(r"\frac12"), PAPER.format(r"\frac{1}{2}"), r"\boxed{\dfrac{1}{2}.}"),
         r"\frac{1}{2}"),
        ((PAPER.format("1{,}200"), PAPER.format("1,200"), "#### 1200"), "1200"),
        ((PAPER.format("(1,200)"), r"\boxed{\left( 1, 200 \right)}"), "(1,200)"),
        ((PAPER.format("18"), PAPER.format("18 dollars"), r"\boxed{\$18}"), "18"),
        ((PAPER.format("x = 5"), r"\boxed{x=5}", r"\boxed{\text{x=5}}"), "x=5"),
        (("", "so 3 + 4 = 7", "I cannot say.", r"So it is \boxed{7", "The final answer is $"), ""),
    ],
)  # fmt: skip
def test_an_answer_has_one_spelling(texts, answer):
    assert [MATH.answer(text) for text in texts] == [answer] * len(texts)


@pytest.mark.parametrize(
    "piece",
    ["2^", "((((", "{", r"\frac{", "$1$ and ", r"\(", "9", " ", "1 234", ",", ".*", r"\phantom{",
     r"\boxed{", "final answer is ", "**", r"\frac ", "\n", r"\text{a and "],
)  # fmt: skip
def test_the_answer_in_a_hostile_text_is_found_at_once(piece):
    text = f"The final answer is ${piece * (20_000 // len(piece))}"
    began = time.monotonic()
    assert len(MATH.answer(text)) <= 1000
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("power", ["9^{9^{9^{9}}}", "999999999!", r"\int_0^1 x^{x^{x}} dx"])
def test_the_answer_is_only_read_and_never_worked_out(power, monkeypatch):
    monkeypatch.setattr(math, "parse", None)
    assert MATH.answer(PAPER.format(power)) == power.replace(" ", "")
