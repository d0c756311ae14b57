"""Addition asked in words, for instruction-tuned models."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from score_ray.tasks.arithmetic import carries, held_out_pairs
from score_ray.types import Problem, Verdict


@dataclass(frozen=True)
class Sums:
    """ "What is 17 + 25?": sums of two numbers from 1 to `largest`."""

    seed: int = 0
    held_out: int = 1000
    largest: int = 99

    def problems(self, split: str) -> Sequence[Problem]:
        """The train or test split, in a fixed order."""
        numbers = range(1, self.largest + 1)
        pairs = held_out_pairs(numbers, self.seed, self.held_out, split)
        return [
            Problem(i, f"What is {a} + {b}?", str(a + b), level=carries(a, b))
            for i, (a, b) in enumerate(pairs)
        ]

    def grade(self, problem: Problem, text: str) -> Verdict:
        """The last whole number in the text is the answer."""
        answer = self.answer(text)
        if not answer:
            return Verdict.NO_ANSWER
        return Verdict.CORRECT if answer == problem.answer else Verdict.WRONG

    def answer(self, text: str) -> str:
        """The last whole number, without leading zeros."""
        numbers = re.findall(r"[0-9]+", text)
        return (numbers[-1].lstrip("0") or "0") if numbers else ""
