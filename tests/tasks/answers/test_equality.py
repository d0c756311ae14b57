import pytest

from score_ray.tasks.answers.equality import same_answer
from score_ray.tasks.math import MathAnswers
from score_ray.types import Problem, Verdict

SENTENCE = "Final Answer: The final answer is {}. I hope it is correct."
# A gold answer, and a wrong one of the same form.
CANDIDATES = [
    ("7", "8"),
    ("1,200", "1,300"),
    (r"\frac{3}{4}", r"\frac{3}{5}"),
    (r"2\sqrt{5}", r"3\sqrt{5}"),
    ("x^2+1", "x^2+2"),
    ("(1,2)", "(1,3)"),
    ("[0,1)", "[0,2)"),
    ("1,2", "1,3"),
    (r"5\text{ cm}", r"6\text{ cm}"),
    (r"10\%", r"20\%"),
    ("3e5", "4e5"),
    ("½", "⅓"),
    ("52_8", "53_8"),
    (r"\text{(B)}", r"\text{(C)}"),
    ("x=4", "x=5"),
]
IN_A_FORMULA = [
    "{g} or {w}", "{w} or {g}", "{g}, {w}", "{w}, {g}", "{g}; {w}", "{g} and {w}",
    r"\{{{g}, {w}\}}", "{g} = {w}", r"{g} \approx {w}", "{g} ({w})", "{w} ({g})", "{g} {w}",
    "{g} (or {w})", r"{g} \text{{ or }} {w}", r"{g}\text{{ or {w}}}", r"{g} \quad {w}",
    "{g} vs {w}", r"{w} \Rightarrow {g}", r"{w} \ne {g}", "{g} to {w}", "{g}, not {w}",
    "{g} | {w}", r"{g}\\{w}", r"{g}\text{{or}}{w}", r"{g}\mathrm{{or}}{w}",
]  # fmt: skip
IN_A_SENTENCE = [
    "${g}$ or ${w}$", "${g}$; ${w}$", "${g}$ ${w}$", "${g}$ (${w}$)", "${g}$ maybe ${w}$",
    "either ${g}$ or perhaps ${w}$", "${g}$ = ${w}$", "${g}$ or {w}", "{g} or maybe {w}",
    "${g}$ / ${w}$", "${g}$ if $a>0$, ${w}$ if $a<0$", "${g}$ for $n=1$, and ${w}$ for $n=2$",
    "the first is ${g}$ and the second is ${w}$", "not ${w}$ but ${g}$",
]  # fmt: skip
IN_BOXES = [r"\boxed{{{w}}} or \boxed{{{g}}}", r"$\boxed{{{w}}}$, $\boxed{{{g}}}$"]


def is_correct(gold: str, text: str) -> bool:
    return MathAnswers("", "").grade(Problem(0, "q", gold), text) is Verdict.CORRECT


@pytest.mark.parametrize(("gold", "wrong"), CANDIDATES)
def test_an_answer_that_lists_candidates_is_never_correct(gold, wrong):
    formulas = [form.format(g=gold, w=wrong) for form in IN_A_FORMULA]
    texts = [SENTENCE.format(f"${formula}$") for formula in formulas]
    texts += [rf"so it is \boxed{{{formula}}}." for formula in formulas]
    texts += [SENTENCE.format(form.format(g=gold, w=wrong)) for form in IN_A_SENTENCE]
    texts += [form.format(g=gold, w=wrong) for form in IN_BOXES]
    assert [text for text in texts if is_correct(gold, text)] == []
    assert is_correct(gold, SENTENCE.format(f"${wrong}$") + " " + SENTENCE.format(f"${gold}$"))


def test_a_large_decimal_number_equals_its_digits():
    assert same_answer("3.83e35", "383" + "0" * 33)
    assert not same_answer("3.83e35", "3831" + "0" * 32)


def test_very_long_answers_are_compared_as_they_stand():
    assert same_answer("7+" * 600 + "1", "7+" * 600 + "1")
    assert not same_answer("7+" * 600 + "1", "7 + " * 600 + "1")
