"""Two-digit addition, "37+48=", for the embedded run."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from score_ray.types import Problem, Verdict


def held_out_pairs(numbers: range, seed: int, held_out: int, split: str) -> list[tuple[int, int]]:
    """All pairs of numbers, shuffled by seed; the first `held_out` are the test split."""
    pairs = [(a, b) for a in numbers for b in numbers]
    random.Random(seed).shuffle(pairs)
    return pairs[:held_out] if split == "test" else pairs[held_out:]


def carries(a: int, b: int) -> str:
    """How many carries the sum of two numbers needs, in words: how hard it is."""
    count, carry = 0, 0
    while a or b:
        carry = (a % 10 + b % 10 + carry) // 10
        count += carry
        a, b = a // 10, b // 10
    return f"{count} carry" if count == 1 else f"{count} carries"


@dataclass(frozen=True)
class Arithmetic:
    """Sums of two two-digit numbers, 8,100 in all."""

    seed: int = 0
    held_out: int = 1000

    def problems(self, split: str) -> Sequence[Problem]:
        """The train or test split, in a fixed order."""
        pairs = held_out_pairs(range(10, 100), self.seed, self.held_out, split)
        return [
            Problem(i, f"{a}+{b}=", str(a + b), level=carries(a, b))
            for i, (a, b) in enumerate(pairs)
        ]

    def grade(self, problem: Problem, text: str) -> Verdict:
        """The whole text must be the sum."""
        answer = self.answer(text)
        if not answer:
            return Verdict.NO_ANSWER
        return Verdict.CORRECT if answer == problem.answer else Verdict.WRONG

    def answer(self, text: str) -> str:
        """The whole text, where it has a digit."""
        return text.strip() if any(c.isdigit() for c in text) else ""
