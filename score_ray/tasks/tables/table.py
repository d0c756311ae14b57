"""The rows of a data set, as its files have them, and the text of a value in them."""

import datetime
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import singledispatch
from typing import Any

import numpy as np

from score_ray.config.suggestions import did_you_mean

INVISIBLE = {"Zs", "Zl", "Zp", "Cc", "Cf", "Mn"}  # categories of spaces, signs and marks
MISSING = object()  # the value of a column that a row does not have
WORDS_OF_KINDS = {list: "a list", dict: "a mapping", bytes: "bytes"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as its digits stand in a file, since Python's own numbers would not keep them."""

    digits: str


@dataclass(frozen=True, slots=True)
class GuessedDate:
    """A value that a library took for a date, so that the text in the file is not known."""


@dataclass(frozen=True, slots=True)
class TooLargeTime:
    """A date, time or duration that lies beyond those of Python."""


@dataclass(frozen=True, slots=True)
class DataTable:
    """The names of the columns, and the rows by name; a row may lack a column."""

    names: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]

    def part(self, start: int, stop: int) -> "DataTable":
        """Return the rows from `start` up to `stop`."""
        return DataTable(self.names, self.rows[start:stop])


def joined(tables: Sequence[DataTable]) -> DataTable:
    """Return one table with the rows of all, in their order."""
    names = dict.fromkeys(name for table in tables for name in table.names)
    return DataTable(tuple(names), [row for table in tables for row in table.rows])


def value_at(row: Any, path: str) -> Any:
    """Return the value of a column, or MISSING.

    Dots lead into mappings and lists, as in "answer.value" and "choices.0". A name that holds a
    dot itself comes first.
    """
    return _value_at(row, path.split("."))


def _value_at(value: Any, parts: Sequence[str]) -> Any:
    if not parts:
        return value
    if isinstance(value, list):
        inside = parts[0].isdecimal() and int(parts[0]) < len(value)
        return _value_at(value[int(parts[0])], parts[1:]) if inside else MISSING
    if isinstance(value, Mapping):
        for end in range(len(parts), 0, -1):
            name = ".".join(parts[:end])
            found = _value_at(value[name], parts[end:]) if name in value else MISSING
            if found is not MISSING:
                return found
    return MISSING


def check_column(table: DataTable, source: str, *names: str, hint: str = "") -> None:
    """Raise ValueError unless the table has one of the columns `names`."""
    for name in names:
        if name in table.names or any(value_at(r, name) is not MISSING for r in table.rows):
            return
    wanted = " or ".join(map(repr, names))
    known = [*table.names, *_nested_names(table)]
    closest = did_you_mean(names[0], known)
    raise ValueError(f"{source}: no column {wanted}; it has {list(table.names)}{closest}{hint}")


def _nested_names(table: DataTable) -> list[str]:
    """Return the dotted names of the columns that lie in mappings of the first row."""
    first = table.rows[0] if table.rows else {}
    return [
        f"{name}.{inner}"
        for name, value in first.items()
        if isinstance(value, Mapping)
        for inner in value
    ]


@singledispatch
def text_of(value: object) -> str:
    """Return a value as the text that the file has.

    A float gets the fewest digits that tell it apart from other floats, without an exponent.
    Raises ValueError with the reason, after a column's name, if there is no such text.
    """
    if value is None or value is MISSING:
        raise ValueError("is missing")
    if isinstance(value, GuessedDate):
        raise ValueError("was taken for a date; download the file, and name the file itself")
    if isinstance(value, TooLargeTime):
        raise ValueError("is a time beyond the year 9999; a text or a number is expected")
    kind = WORDS_OF_KINDS.get(type(value), f"a {type(value).__name__}")
    raise ValueError(f"holds {kind}; a text or a number is expected")


@text_of.register
def _(value: str) -> str:
    if all(unicodedata.category(sign) in INVISIBLE for sign in value):
        raise ValueError("is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a pair of surrogates, which is no text") from error
    return value


@text_of.register
def _(value: bool) -> str:
    return "true" if value else "false"


@text_of.register
def _(value: int) -> str:
    return str(value)


@text_of.register
def _(value: Number) -> str:
    return value.digits


@text_of.register
def _(value: Decimal) -> str:
    return format(value, "f")


@text_of.register
def _(value: datetime.date | datetime.time) -> str:
    return value.isoformat()


@text_of.register
def _(value: float | np.floating) -> str:
    if not math.isfinite(value):
        raise ValueError(f"is {'NaN' if math.isnan(value) else value}; a number is expected")
    kind = type(value) if isinstance(value, np.floating) else np.float64
    if abs(value) >= 2 ** (np.finfo(kind).nmant + 1):
        raise ValueError(
            f"is the float {value}, which may have lost digits; store the column as text"
        )
    return np.format_float_positional(kind(value), unique=True, trim="0")
