"""Grades attempts with the frozen reference as judge.

The judge reads question, gold answer and attempt. It is the base model and never the policy,
because a policy that grades itself would learn to please itself. Nothing is generated: the
verdict is the likelier of two replies, and the learner's ranks score all attempts of an
iteration in their usual micro-batches.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from score_ray.algorithm.batch import Row
from score_ray.types import Attempt, Episode, GradedEpisode, Problem, Verdict

Score = Callable[[Sequence[Row], int], np.ndarray]  # the learner's reference_sums


@dataclass(frozen=True)
class JudgeQuestion:
    """The question to the judge; `text` contains {question}, {answer} and {attempt}.

    `yes` and `no` are the two replies. Raises ValueError if one of the three is missing in the
    text, or the two replies have the same tokens.
    """

    tokenizer: Any
    text: str
    yes: str
    no: str

    def __post_init__(self) -> None:
        missing = [x for x in ("{question}", "{answer}", "{attempt}") if x not in self.text]
        if missing:
            raise ValueError(f"prompts.judge: must contain {' and '.join(missing)}")
        if self._encode(self.yes) == self._encode(self.no):
            raise ValueError(
                f"prompts.judge_yes and judge_no: {self.yes!r} and {self.no!r} are the same tokens"
            )

    def rows(self, problem: Problem, attempt: str) -> tuple[Row, Row]:
        """Return the question followed by "yes", and by "no"; only the reply has turn id 1."""
        # One pass over the text, because a question or an attempt may contain braces.
        values = {"question": problem.question, "answer": problem.answer, "attempt": attempt}
        text = re.sub(r"\{(question|answer|attempt)\}", lambda match: values[match[1]], self.text)
        if self.tokenizer.chat_template:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
        prompt = self._encode(text)
        return self._row(prompt, self.yes), self._row(prompt, self.no)

    def check_length(self, problems: Iterable[Problem], max_tokens: int, positions: int) -> None:
        """Raise ValueError naming the first problem whose question is too long for the model."""
        for problem in problems:
            length = max(len(row.token_ids) for row in self.rows(problem, "")) + max_tokens
            if length > positions:
                raise ValueError(
                    f"prompts.judge: for problem {problem.index} and an attempt of {max_tokens} "
                    f"tokens it has {length} tokens; the model has {positions} positions"
                )

    def _row(self, prompt: tuple[int, ...], word: str) -> Row:
        reply = self._encode(word)
        turns = (0,) * len(prompt) + (1,) * len(reply)
        return Row(prompt + reply, turns, (0.0,) * len(turns))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))


class ReferenceJudge:
    """A grader for which an attempt is correct if "yes" is likelier than "no" to the reference."""

    def __init__(self, score: Score, question: JudgeQuestion) -> None:
        self._score, self._question = score, question
        self._episodes: list[Episode] = []
        self.fault = ""  # why the first failed measurement of the last `collect` failed

    def submit(self, episodes: Iterable[Episode]) -> None:
        """Store these episodes for `collect`."""
        self._episodes += episodes

    def collect(self) -> list[GradedEpisode]:
        """Grade what was submitted; return it in order of problem index and sample."""
        episodes = sorted(self._episodes, key=lambda e: (e.problem.index, e.sample))
        self._episodes = []
        attempts = [(e.problem, attempt.text) for e in episodes for attempt in e.attempts]
        rows = [row for problem, text in attempts for row in self._question.rows(problem, text)]
        sums = self._score(rows, 1).reshape(-1, 2)  # [attempts, yes and no]
        judged = iter(sums.tolist())
        is_broken = not np.isfinite(sums).all()
        self.fault = "the reference's log-probs are not finite numbers" if is_broken else ""
        return [
            GradedEpisode.by_verdict(e, [_verdict(a, *next(judged)) for a in e.attempts])
            for e in episodes
        ]

    def forget(self) -> None:
        """Discard what was submitted and not collected."""
        self._episodes = []


def _verdict(attempt: Attempt, yes: float, no: float) -> Verdict:
    if not (math.isfinite(yes) and math.isfinite(no)):
        return Verdict.GRADER_ERROR
    judged = Verdict.CORRECT if yes > no else Verdict.WRONG
    return (judged if attempt.text else Verdict.NO_ANSWER).after(attempt.finish)
