"""Addition asked in words, for instruction-tuned models."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from score_ray.tasks.arithmetic import addition_problems, exact_verdict
from score_ray.types import Problem, UnusableRow, Verdict


@dataclass(frozen=True)
class Sums:
    """ "What is 17 + 25?": sums of two numbers from 1 to `largest`."""

    seed: int = 0
    held_out: int = 1000
    largest: int = 99

    def problems(self, split: str) -> Sequence[Problem]:
        """Return the train or test split, in a fixed order."""
        numbers = range(1, self.largest + 1)
        return addition_problems("What is {a} + {b}?", numbers, self.seed, self.held_out, split)

    def unusable(self, split: str) -> Sequence[UnusableRow]:
        """Return no rows, since the problems are generated."""
        return ()

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Compare the last whole number in the text with the sum."""
        return exact_verdict(problem, self.answer(text))

    def answer(self, text: str) -> str:
        """Return the last whole number without leading zeros, or ""."""
        numbers = re.findall(r"[0-9]+", text)
        return (numbers[-1].lstrip("0") or "0") if numbers else ""
