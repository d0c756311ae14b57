import re
import time
from pathlib import Path

import psutil
import pytest

from score_ray.tasks.answers import equality
from score_ray.tasks.answers.equality import same_answer
from score_ray.tasks.answers.extraction import given_answer, gold_answer, last_boxed
from score_ray.tasks.math import MathAnswers
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.types import Episode, Problem, Verdict
from tests.support.text_episodes import text_episode
from tests.tasks.answer_pairs import DIFFERENT, SAME

C, W, N = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER
PAPER = "Some steps. Final Answer: The final answer is ${}$. I hope it is correct."
# Answers of all the forms that the MATH and GSM8K data sets contain.
FORMS = Path("tests/fixtures/math_answers.txt").read_text().splitlines()
MATH = MathAnswers("", "")


def grade(gold: str, text: str) -> Verdict:
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
        # A number in a step, or the last number before the cut, is not an answer.
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
def test_the_last_final_answer_is_compared_with_the_gold_one(text, gold, verdict):
    assert grade(gold, text) is verdict


@pytest.mark.parametrize(("gold", "given"), SAME)
def test_the_same_answer_in_another_form_is_correct(gold, given):
    assert same_answer(gold, given)


@pytest.mark.parametrize(("gold", "given"), DIFFERENT)
def test_a_different_answer_is_wrong(gold, given):
    assert not same_answer(gold, given)


@pytest.mark.parametrize("gold", FORMS)
def test_an_answer_of_any_form_is_correct_in_sentence_and_box_and_wrong_with_another_digit(gold):
    assert grade(gold, PAPER.format(gold)) is C
    assert grade(rf"so \boxed{{{gold}}}", rf"so $x+1=4$ and \boxed{{{gold}}}.") is C
    if place := re.search(r"\d", gold):
        other = f"{gold[: place.start()]}{(int(place[0]) + 1) % 10}{gold[place.end() :]}"
        assert grade(gold, PAPER.format(other)) is W
        assert grade(gold, rf"so \boxed{{{other}}}.") is W


def test_gold_answers_are_read_after_hashes_then_from_boxes_then_from_the_whole_text():
    assert same_answer(gold_answer("24/2 = 12\n#### 1,012"), "1012")
    assert gold_answer(r"so \boxed{\frac{a}{b}} it is") == r"\frac{a}{b}"
    assert gold_answer(" 12 ") == "12"


@pytest.mark.parametrize(
    "answer",
    ["", " ", "####", "12\n####  ", r"so \boxed{}", r"so \boxed{1", "$", "It is so. We add up 3 and 4.", "she sold 7 in May and then half as many in June or July"],
)  # fmt: skip
def test_a_gold_answer_that_cannot_be_read_is_an_error_and_not_a_wrong_attempt(answer):
    with pytest.raises(ValueError, match=r"no final answer in .*####, in \\boxed{}, or alone"):
        grade(answer, PAPER.format("7"))


def test_an_error_names_the_row_whose_gold_answer_cannot_be_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1", "answer": "2"}\n{"question": "1", "answer": "####"}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl: row 1: no final answer in '####'"):
        MathAnswers(str(path), str(path)).problems("train")


def test_last_boxed_balances_braces():
    assert last_boxed(r"\boxed{1}, so it is \boxed{\sqrt{x_{2}}}") == r"\sqrt{x_{2}}"
    assert last_boxed("none") is None
    assert last_boxed(r"\boxed{open") is None


def test_given_answer_is_the_formula_alone():
    assert given_answer(PAPER.format(r"\frac{1}{2}")) == r"$\frac{1}{2}$"


def one_attempt(text: str) -> Episode:
    return text_episode(Problem(0, "q", "7"), text)


@pytest.fixture
def grader():
    grader = ProcessGrader(MATH, num_workers=1, deadline=3.0)
    yield grader
    grader.close()
    assert not [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]


@pytest.mark.parametrize(
    "bomb",
    ["9^{9^{9^{9}}}", "10^{10^{10}}", "(10^{10})!", "999999999!", r"\prod_{k=1}^{10^9} k!",
     r"\sum_{k=1}^{10^8} k^k", "2^{10^9}", r"\binom{10^9}{10^8}", "(x+1)^{10000}", "(x+y+z)^{200}",
     r"e^{e^{e^{e^{e}}}}", r"\sin(10^{10^{10}})", "(1, 9^{9^{9^9}})", r"\gcd(10^{10^{8}}, 3)",
     "x = 9^{9^{9^9}}", "x^{" * 30 + "x" + "}" * 30, r"\sqrt{" * 60 + "7" + "}" * 60,
     "(" * 300 + "7" + ")" * 300, r"7 \cdot " * 500 + "1", r"\int_0^1 x^{x^x} dx",
     "9^9^9^9", "((10!)!)!", "1e999999999", "{" * 5000, "7," * 3000],
)  # fmt: skip
def test_an_answer_that_sympy_cannot_finish_is_wrong_within_a_moment(bomb):
    began = time.process_time()
    assert grade("7", PAPER.format(bomb)) is W
    assert time.process_time() - began < 2


@pytest.mark.slow
def test_deeply_nested_and_very_long_answers_are_not_correct_and_grading_goes_on(grader):
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
def test_answers_that_are_written_differently_have_one_spelling(texts, answer):
    assert [MATH.answer(text) for text in texts] == [answer] * len(texts)


@pytest.mark.parametrize(
    "piece",
    ["2^", "((((", "{", r"\frac{", "$1$ and ", r"\(", "9", " ", "1 234", ",", ".*", r"\phantom{",
     r"\boxed{", "final answer is ", "**", r"\frac ", "\n", r"\text{a and "],
)  # fmt: skip
def test_the_answer_in_a_hostile_text_is_read_in_two_seconds(piece):
    text = f"The final answer is ${piece * (20_000 // len(piece))}"
    began = time.monotonic()
    assert len(MATH.answer(text)) <= 1000
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("power", ["9^{9^{9^{9}}}", "999999999!", r"\int_0^{1} x^{x^{x}} dx"])
def test_reading_an_answer_does_not_evaluate_it(power, monkeypatch):
    monkeypatch.setattr(equality, "parse", None)
    assert MATH.answer(PAPER.format(power)) == power.replace(" ", "")
