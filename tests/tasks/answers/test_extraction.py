import re

import pytest

from score_ray.tasks.answers.extraction import given_answer, gold_answer, last_boxed

SENTENCE = "Final Answer: The final answer is {}. I hope it is correct."


@pytest.mark.parametrize(
    ("sentence", "answer"),
    [
        ("the largest $n$ is 7", "7"),
        ("the largest $n$ is $7$", "$7$"),
        ("the value of $f(2)$ is $7$", "$7$"),
        ("the number of points of $f(x)$ that could be found is 19", "19"),
        ("therefore $x \\geq 5$ is the solution", "$x \\geq 5$"),
        ("the pair $(1,2)$ of numbers", "$(1,2)$"),
        ("$7$ apples", "$7$"),
        ("$7$ since $x = 3$", "$7$"),
        ("$x=1$ or $x=2$", "$x=1$ or $x=2$"),
        ("given by\n\\[ 9 \\]", "$ 9 $"),
        ("$7$ for $n = 3$", "$7$"),
        ("$7$, since $a = 3$ if $b = 4$", "$7$"),
        ("$7$ if $a>0$, $8$ if $a<0$", "$7$ if $a>0$, $8$ if $a<0$"),
        ("$7$ for odd $n$, and $8$ for even $n$", "$7$ for odd $n$, and $8$ for even $n$"),
        ("$B$, C", "$B$, C"),
        (r"\((B)\) / \text{(C)}", r"$(B)$ / \text{(C)}"),
        ("approx. 7", "approx. 7"),
    ],
)
def test_the_value_of_a_sentence_is_its_answer(sentence, answer):
    assert given_answer(SENTENCE.format(sentence)) == answer


@pytest.mark.parametrize(
    "sentence",
    ["$7$; $8$", "$7$ ($8$)", "$7$ maybe $8$", "either $7$ or perhaps $8$", "$7$ or eight",
     "perhaps 7, or it is 8", "$7$ but possibly $8$", "$7$ = $8$", "$7$ unless it is $8$"],
)  # fmt: skip
def test_a_sentence_that_gives_several_values_is_an_answer_as_a_whole(sentence):
    assert given_answer(SENTENCE.format(sentence)) == sentence


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"$\boxed{15\frac{39}{40}},$ or $\boxed{\frac{639}{40}}$ inches.", r"\frac{639}{40}"),
        (r"\boxed{1}, \boxed{\frac{2}{4}}, \boxed{0.5}", "1, 0.5"),
        (r"\boxed{(2, 2)} \quad \text{and} \quad \boxed{(6, 2)}", "(2, 2), (6, 2)"),
        (r"$x = \boxed{3}$, $y = \boxed{4}$", "3, 4"),
        (r"\boxed{7} or \boxed{8}", "7, 8"),
        (r"\boxed{7}, \boxed{7}", "7"),
        (r"\boxed{6}, no: \boxed{7}", "7"),
        (r"\boxed{6}. Again: \boxed{7}", "7"),
        (r"\boxed{6}\boxed{7}", "7"),
        (r"\boxed{6} and \boxed{7", None),
    ],
)
def test_boxes_joined_by_and_or_commas_are_one_list_and_otherwise_the_last_counts(text, answer):
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    "gold",
    ["Monday", "yes", "no", "Evelyn", r"\text{east}", "none", "A, D", "Softball, Kickball, Picnic",
     r"\text{two lines}", "no solution", "undefined", "9 (apples)", "∅", r"\infty", "x", "北",
     r"\text{The midpoints form a regular hexagon}", "October 30", r"\emptyset"],
)  # fmt: skip
def test_words_are_gold_answers(gold):
    assert gold_answer(gold) == gold


@pytest.mark.parametrize(
    "gold",
    ["hmm, unclear", "unknown", "N/A", "#### n/a", "see above", "See the solution.", "?", "-", "???",
     "nan", "null", r"\boxed{\text{unknown}}", "not available", "answer missing", "no answer", "TBD",
     "I don't know", "not sure", "answers may vary", "she likes to walk to school"],
)  # fmt: skip
def test_words_for_a_missing_answer_are_no_gold_answer(gold):
    with pytest.raises(ValueError, match=re.escape(f"no final answer in {gold!r}")):
        gold_answer(gold)
