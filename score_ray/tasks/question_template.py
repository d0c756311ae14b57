"""Puts a question together from the columns of a row: "{Body} {Question}"."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from score_ray.tasks.tables.table import text_of, value_at


@dataclass(frozen=True, slots=True)
class QuestionTemplate:
    """Pairs of a text and the column that follows it; the last column may be None."""

    parts: tuple[tuple[str, str | None], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the question consists of."""
        return tuple(column for _, column in self.parts if column is not None)

    def question(self, row: Mapping[str, Any]) -> str:
        """Return the question of a row; raise ValueError if it lacks a column's text."""
        texts = []
        for text, column in self.parts:
            texts += [text, "" if column is None else column_text(row, column)]
        return "".join(texts)


def one_column(name: str) -> QuestionTemplate:
    """Return the template of a question that is one column."""
    return QuestionTemplate((("", name),))


def parse_template(text: str) -> QuestionTemplate:
    """Return the template in a text, in which {{ and }} stand for braces.

    Raises ValueError if it is malformed or names no column.
    """
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f"task.question: {text!r}: {error}; a brace that is meant as such is doubled"
        ) from error
    parts = []
    for literal, field, form, conversion in parsed:
        # A column's name may hold the signs that have a meaning in Python's own templates.
        ends = f"!{conversion}" if conversion else "", f":{form}" if form else ""
        parts.append((literal, None if field is None else f"{field}{''.join(ends)}"))
    template = QuestionTemplate(tuple(parts))
    if not template.columns or "" in template.columns:
        raise ValueError(
            f'task.question: {text!r} must name columns in braces, such as "{{Body}} {{Question}}"'
        )
    return template


def column_text(row: Mapping[str, Any], column: str) -> str:
    """Return the text of a column; raise ValueError naming the column if it has none."""
    try:
        return text_of(value_at(row, column))
    except ValueError as error:
        raise ValueError(f"column {column!r} {error}") from error
