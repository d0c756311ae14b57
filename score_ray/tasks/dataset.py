"""Makes problems of the rows of data sets."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from score_ray.config.train_source import TrainSource
from score_ray.tasks.question_template import (
    QuestionTemplate,
    column_text,
    one_column,
    parse_template,
)
from score_ray.tasks.tables.loading import load_table
from score_ray.tasks.tables.table import Number, check_column
from score_ray.tasks.unusable_rows import check_unusable
from score_ray.types import Problem, UnusableRow

LEVEL = "level"  # an optional column that names the difficulty of each row
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RowSet:
    """The rows of a source that belong to a split, each with its number in the source."""

    source: str
    rows: Sequence[tuple[int, Row]]


@dataclass(frozen=True, slots=True)
class Reading:
    """The problems of a split, and the rows that are none."""

    problems: list[Problem]
    unusable: list[UnusableRow]


@dataclass(frozen=True, slots=True)
class QuestionSource:
    """A source, and the columns that make a problem of a row."""

    source: str
    question: QuestionTemplate
    answer_column: str


def sources_of(
    given: str | tuple[TrainSource, ...], question: str, question_column: str, answer_column: str
) -> list[QuestionSource]:
    """Return the data sets of a split; the others are the keys of the `task` section.

    Raises ValueError if a template of questions is malformed.
    """
    own = parse_template(question) if question else one_column(question_column)
    if isinstance(given, str):
        return [QuestionSource(given, own, answer_column)]
    sources = []
    for source in given:
        template = one_column(source.question_column) if source.question_column else own
        template = parse_template(source.question) if source.question else template
        answer = source.answer_column or answer_column
        sources.append(QuestionSource(source.path, template, answer))
    return sources


def read_questions(
    sources: Sequence[QuestionSource], split: str, skip: bool, check: Callable[[str], object]
) -> Reading:
    """Return a problem for every row of the sources, in their order.

    `check` raises ValueError for an answer that cannot be used. A column `level` names the
    difficulty. With `skip` rows that cannot be used are left out. Raises FileNotFoundError or
    ValueError, naming the source and the column, row or split.
    """
    sets = []
    for source in sources:
        columns = [*source.question.columns, source.answer_column]
        table = load_table(source.source, split, [*columns, LEVEL])
        for column in columns:
            hint = " (task.question, task.question_column, task.answer_column)"
            check_column(table, source.source, column, hint=hint)
        sets.append(RowSet(source.source, list(enumerate(table.rows))))

    def problem(index: int, row: Row, which: int) -> Problem:
        source = sources[which]
        question = source.question.question(row)
        answer = column_text(row, source.answer_column)
        check(answer)
        return Problem(index, question, answer, level=_level(row.get(LEVEL)))

    return collect(sets, problem, skip)


def collect(
    sets: Sequence[RowSet], make: Callable[[int, Row, int], Problem], skip: bool
) -> Reading:
    """Make a problem of each row; a ValueError of `make` is the reason why a row cannot be used.

    `make` gets the index of the problem, the row, and the number of its set. Indices count all
    rows of all sets, so that each is unique, and that of a single set is the place of the row.
    Raises ValueError, naming rows, if some cannot be used and `skip` is not set, or if none of a
    set can.
    """
    problems, unusable, total = [], [], 0
    for which, rows in enumerate(sets):
        before = len(unusable)
        for index, (number, row) in enumerate(rows.rows, total):
            try:
                problem = make(index, row, which)
            except ValueError as error:
                unusable.append(UnusableRow(rows.source, number, str(error)))
            else:
                problems.append(replace(problem, source=rows.source, row=number))
        total += len(rows.rows)
        check_unusable(unusable[before:], len(rows.rows), skip=True)
    check_unusable(unusable, total, skip)
    return Reading(problems, unusable)


def shared_questions(train: Sequence[Problem], test: Sequence[Problem]) -> int:
    """Count the test problems whose question is also in train, up to white space."""
    known = {" ".join(problem.question.split()) for problem in train}
    return sum(" ".join(problem.question.split()) in known for problem in test)


def _level(value: object) -> str:
    """Return a difficulty that is a text or a number, else ""."""
    if isinstance(value, Number):
        value = float(value.digits)
    if isinstance(value, float | np.floating):  # whole numbers are floats if some are missing
        return "" if math.isnan(value) else f"{value:g}"
    return str(value).strip() if isinstance(value, str | int) else ""
