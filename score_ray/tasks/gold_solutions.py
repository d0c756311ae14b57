"""Grades the solutions that a data set contains, to check the grader and measure its speed."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from score_ray.tasks.process_grader import ProcessGrader
from score_ray.tasks.question_template import column_text
from score_ray.tasks.tables.loading import load_table
from score_ray.tasks.tables.table import check_column
from score_ray.tasks.unusable_rows import describe
from score_ray.types import Attempt, Episode, Finish, Problem, UnusableRow, Verdict


@dataclass(frozen=True, slots=True)
class GradingSummary:
    """Number of solutions by verdict, the problems that are not solved, and the seconds."""

    counts: dict[Verdict, int]
    failed: tuple[Problem, ...]
    seconds: float


def read_solutions(split: str, column: str, problems: Sequence[Problem]) -> list[str]:
    """Return the texts of a column in the rows of the problems.

    Raises ValueError if there is no such column, naming the rows that have no text in it, or if
    the problems were generated.
    """
    rows: dict[str, Sequence[Mapping[str, Any]]] = {}
    texts, missing = [], []
    for problem in problems:
        if not problem.source:
            raise ValueError("the task generates its problems, which have no solutions to grade")
        if problem.source not in rows:
            rows[problem.source] = _rows(problem.source, split, column)
        try:
            texts.append(column_text(rows[problem.source][problem.row], column))
        except ValueError as error:
            missing.append(UnusableRow(problem.source, problem.row, str(error)))
    if missing:
        raise ValueError(describe(missing, len(problems)))
    return texts


def _rows(source: str, split: str, column: str) -> Sequence[Mapping[str, Any]]:
    table = load_table(source, split, [column])
    check_column(table, source, column)
    return table.rows


def grade_solutions(
    grader: ProcessGrader, problems: Sequence[Problem], texts: Sequence[str]
) -> GradingSummary:
    """Grade each text as an attempt at its problem."""
    start = time.perf_counter()
    grader.submit(_episode(p, text) for p, text in zip(problems, texts, strict=True))
    graded = grader.collect()
    seconds = time.perf_counter() - start
    counts = Counter(g.verdicts[0] for g in graded)
    failed = [g.episode.problem for g in graded if g.verdicts[0] is not Verdict.CORRECT]
    return GradingSummary(dict(counts), tuple(failed), seconds)


def _episode(problem: Problem, text: str) -> Episode:
    attempt = Attempt((0,), (0,), (0.0,), text, Finish.STOP, version=0, given=True)
    return Episode(problem, 0, (attempt,))
