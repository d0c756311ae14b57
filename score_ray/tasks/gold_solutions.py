"""A data set's own solutions, graded: what a verifier ought to find correct, and how fast it is."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from score_ray.tasks.dataset import load_table
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Grader, Problem, Verdict


@dataclass(frozen=True, slots=True)
class GradingSummary:
    """How often each verdict occurred, which problems were not correct, and the seconds."""

    counts: dict[Verdict, int]
    failed: tuple[int, ...]
    seconds: float


def read_solutions(source: str, split: str, column: str, problems: Sequence[Problem]) -> list[str]:
    """The texts of a column, one per problem; ValueError if there is no such column or number."""
    table = load_table(source, split, (column,))
    if column not in table.column_names:
        raise ValueError(f"{source}: no column {column!r}; it has {table.column_names}")
    if len(table) != len(problems):
        raise ValueError(
            f"{source}: has {len(table)} rows for {len(problems)} problems of the {split} split; "
            "name the file for this split alone"
        )
    return [str(text) for text in table[column]]


def grade_solutions(
    grader: Grader, problems: Sequence[Problem], texts: Sequence[str]
) -> GradingSummary:
    """Grade each text as an attempt at its problem."""
    start = time.perf_counter()
    grader.submit(_episode(p, text) for p, text in zip(problems, texts, strict=True))
    graded = grader.collect()
    seconds = time.perf_counter() - start
    counts = Counter(g.verdicts[0] for g in graded)
    return GradingSummary(
        dict(counts), tuple(_index(g) for g in graded if not _correct(g)), seconds
    )


def _episode(problem: Problem, text: str) -> Episode:
    attempt = Attempt((0,), (0,), (0.0,), text, Finish.STOP, version=0, given=True)
    return Episode(problem, 0, (attempt,))


def _index(graded: GradedEpisode) -> int:
    return graded.episode.problem.index


def _correct(graded: GradedEpisode) -> bool:
    return graded.verdicts[0] is Verdict.CORRECT
