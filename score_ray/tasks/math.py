"""Mathematics with a final answer, judged by math-verify."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from score_ray.tasks.dataset import load_problems
from score_ray.types import Problem, Verdict

# The form the paper's prompt asks for (arXiv 2409.12917, appendix C).
FINAL = re.compile(r"[Tt]he final answer is:?\s*(.+?)\s*\.?\s*(?:I hope it is correct|$)", re.S)

# It warns in every process that its own deadline is off, as grade() wants it.
logging.getLogger("math_verify").setLevel(logging.ERROR)


@dataclass(frozen=True)
class MathAnswers:
    """A question and an answer column; a worked solution may stand in the answer column."""

    train: str
    test: str
    question_column: str = "question"
    answer_column: str = "answer"

    def problems(self, split: str) -> Sequence[Problem]:
        """The train or test split, read once."""
        return _read(self, split)

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Compare the last final answer in the text with the gold one."""
        from math_verify import parse, verify

        # The process pool holds the deadline; math-verify's own is an alarm.
        no_alarm: Any = {"parsing_timeout": None}
        gold = parse(f"${gold_answer(problem.answer)}$", **no_alarm)
        found = parse(given_answer(text), **no_alarm)
        if not found:
            return Verdict.NO_ANSWER
        return Verdict.CORRECT if verify(gold, found, timeout_seconds=None) else Verdict.WRONG


@cache
def _read(task: MathAnswers, split: str) -> list[Problem]:
    source = task.train if split == "train" else task.test
    return load_problems(source, split, task.question_column, task.answer_column)


def gold_answer(answer: str) -> str:
    """The answer in a solution: after ####, else in the last boxed, else all of it."""
    if "####" in answer:
        return answer.rsplit("####", 1)[1].strip().replace(",", "")
    return last_boxed(answer) or answer.strip()


def given_answer(text: str) -> str:
    """The part of a completion that math-verify should read."""
    finals = FINAL.findall(text)
    if finals:
        answer = finals[-1].strip().strip("$").strip()
        return f"${answer}$"
    boxed = last_boxed(text)
    return f"${boxed}$" if boxed else text


def last_boxed(text: str) -> str | None:
    r"""What stands in the last \boxed{...}, braces balanced; None if there is none."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for place in range(start + 6, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 7 : place]
    return None
