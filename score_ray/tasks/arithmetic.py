"""Sums of two-digit numbers, "37+48=", for the built-in model of arithmetic_model.py."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from score_ray.types import Problem, UnusableRow, Verdict


def addition_problems(
    question: str, numbers: range, seed: int, held_out: int, split: str
) -> list[Problem]:
    """Return the sums of all pairs of numbers, shuffled by seed; the level counts the carries.

    The first `held_out` problems are the test split. `question` contains {a} and {b}.
    """
    pairs = [(a, b) for a in numbers for b in numbers]
    random.Random(seed).shuffle(pairs)
    chosen = pairs[:held_out] if split == "test" else pairs[held_out:]
    return [
        Problem(index, question.format(a=a, b=b), str(a + b), level=carries(a, b))
        for index, (a, b) in enumerate(chosen)
    ]


def carries(a: int, b: int) -> str:
    """Return in words how many carries the sum of two numbers needs, a measure of difficulty."""
    count, carry = 0, 0
    while a or b:
        carry = (a % 10 + b % 10 + carry) // 10
        count += carry
        a, b = a // 10, b // 10
    return f"{count} carry" if count == 1 else f"{count} carries"


def exact_verdict(problem: Problem, answer: str) -> Verdict:
    """Return CORRECT if the answer equals the gold answer, NO_ANSWER if it is empty, else WRONG."""
    if not answer:
        return Verdict.NO_ANSWER
    return Verdict.CORRECT if answer == problem.answer else Verdict.WRONG


@dataclass(frozen=True)
class Arithmetic:
    """Sums of two two-digit numbers, 8,100 in all."""

    seed: int = 0
    held_out: int = 1000

    def problems(self, split: str) -> Sequence[Problem]:
        """Return the train or test split, in a fixed order."""
        return addition_problems("{a}+{b}=", range(10, 100), self.seed, self.held_out, split)

    def unusable(self, split: str) -> Sequence[UnusableRow]:
        """Return no rows, since the problems are generated."""
        return ()

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Return the verdict on the whole text, compared with the sum."""
        return exact_verdict(problem, self.answer(text))

    def answer(self, text: str) -> str:
        """Return the whole text, or "" if it has no digit."""
        return text.strip() if any(c.isdigit() for c in text) else ""
