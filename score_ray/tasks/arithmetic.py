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


@dataclass(frozen=True)
class Arithmetic:
    """Sums of two two-digit numbers, 8,100 in all."""

    seed: int = 0
    held_out: int = 1000

    def problems(self, split: str) -> Sequence[Problem]:
        """The train or test split, in a fixed order."""
        pairs = held_out_pairs(range(10, 100), self.seed, self.held_out, split)
        return [Problem(i, f"{a}+{b}=", str(a + b)) for i, (a, b) in enumerate(pairs)]

    def grade(self, problem: Problem, text: str) -> Verdict:
        """The whole text must be the sum."""
        answer = text.strip()
        if not any(c.isdigit() for c in answer):
            return Verdict.NO_ANSWER
        return Verdict.CORRECT if answer == problem.answer else Verdict.WRONG
