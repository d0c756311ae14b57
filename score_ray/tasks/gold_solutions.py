"""Grades the solutions that a data set contains, to check the grader and measure its speed."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from score_ray.tasks.dataset import check_column, load_table
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.types import Attempt, Episode, Finish, Problem, Verdict


@dataclass(frozen=True, slots=True)
class GradingSummary:
    """Number of solutions by verdict, indices of the problems not solved, and the seconds."""

    counts: dict[Verdict, int]
    failed: tuple[int, ...]
    seconds: float


def read_solutions(source: str, split: str, column: str, problems: Sequence[Problem]) -> list[str]:
    """Return the texts of a column, one per problem.

    Raises ValueError if there is no such column, or another number of rows.
    """
    table = load_table(source, split, (column,))
    check_column(table, source, column)
    if len(table) != len(problems):
        raise ValueError(
            f"{source}: has {len(table)} rows for {len(problems)} problems of the {split} split; "
            "name a file that holds this split alone"
        )
    return [str(text) for text in table[column]]


def grade_solutions(
    grader: ProcessGrader, problems: Sequence[Problem], texts: Sequence[str]
) -> GradingSummary:
    """Grade each text as an attempt at its problem."""
    start = time.perf_counter()
    grader.submit(_episode(p, text) for p, text in zip(problems, texts, strict=True))
    graded = grader.collect()
    seconds = time.perf_counter() - start
    counts = Counter(g.verdicts[0] for g in graded)
    failed = [g.episode.problem.index for g in graded if g.verdicts[0] is not Verdict.CORRECT]
    return GradingSummary(dict(counts), tuple(failed), seconds)


def _episode(problem: Problem, text: str) -> Episode:
    attempt = Attempt((0,), (0,), (0.0,), text, Finish.STOP, version=0, given=True)
    return Episode(problem, 0, (attempt,))
