r"""Mathematics problems with a final answer.

`answers/` finds the answer in a completion, gives it one spelling and compares it: an answer with
the same text as the gold answer is correct, and others are parsed and compared as mathematics.
Units, percent signs and the base of a number may be left out. A wrong base, a value repeated more
or less often in a list, another order in a tuple and another kind of end of an interval are wrong.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from score_ray.config.train_source import TrainSource
from score_ray.tasks.answers.equality import MAX_ANSWER, same_answer
from score_ray.tasks.answers.extraction import given_answer, gold_answer
from score_ray.tasks.answers.spelling import normalized, plain
from score_ray.tasks.dataset import Reading, read_questions, sources_of
from score_ray.types import Problem, UnusableRow, Verdict

THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
FRACTION_SIZE = re.compile(r"(?<=\\)[dt](?=frac)")  # the d of \dfrac, the t of \tfrac


@dataclass(frozen=True)
class MathAnswers:
    """Problems from a question and an answer column, which may hold worked solutions.

    The fields are the keys of the same names in a config's `task` section.
    """

    train: str | tuple[TrainSource, ...]
    test: str
    question_column: str = "question"
    answer_column: str = "answer"
    question: str = ""
    skip_unusable: bool = False

    def problems(self, split: str) -> Sequence[Problem]:
        """Return the usable problems of the train or test split.

        Raises ValueError if a row has no gold answer and task.skip_unusable is not set.
        """
        return _read(self, split).problems

    def unusable(self, split: str) -> Sequence[UnusableRow]:
        """Return the rows that `problems` left out."""
        return _read(self, split).unusable

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Return the verdict on the last final answer in the text."""
        gold, given = gold_answer(problem.answer), given_answer(text)
        if not given or not normalized(given[:MAX_ANSWER]):
            return Verdict.NO_ANSWER
        return Verdict.CORRECT if same_answer(gold, given) else Verdict.WRONG

    def answer(self, text: str) -> str:
        """Return the last final answer, normalized; equal values in other forms stay different."""
        answer = plain(normalized((given_answer(text) or "")[:MAX_ANSWER]))[:MAX_ANSWER]
        return (
            answer.replace(",", "")
            if THOUSANDS.fullmatch(answer)
            else FRACTION_SIZE.sub("", answer)
        )


@cache
def _read(task: MathAnswers, split: str) -> Reading:
    given = task.train if split == "train" else task.test
    sources = sources_of(given, task.question, task.question_column, task.answer_column)
    return read_questions(sources, split, task.skip_unusable, gold_answer)
