"""Reads JSON: an array of rows, or rows one after the other, as in JSON lines."""

import json
import re
from collections.abc import Iterator
from typing import Any

from score_ray.tasks.tables.table import DataTable, Number

BLANK = re.compile(r"[ \t\r\n]*")
MOST_DIGITS = 4000  # of an integer that Python reads
KINDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def read_json(text: str) -> DataTable:
    """Return the rows in a text; numbers keep their digits.

    Raises ValueError naming the line, counted from 1, that is not JSON, has a key twice, or holds
    something else than a row, {"column": value, ...}.
    """
    rows = []
    for line, value in _values(text):
        if not isinstance(value, dict):
            kind = KINDS.get(type(value), "a number")
            raise ValueError(f'line {line}: holds {kind}; a row is {{"column": value, ...}}')
        rows.append(value)
    names = dict.fromkeys(name for row in rows for name in row)
    return DataTable(tuple(names), rows)


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the elements of an array, or the values one after the other, with their lines."""
    reader = _JsonReader(text)
    if reader.sees("["):
        yield from _elements(reader)
        return
    while not reader.is_done:
        line = reader.line()
        yield line, reader.value()


def _elements(reader: "_JsonReader") -> Iterator[tuple[int, Any]]:
    """Yield the elements of the array that begins here, which nothing may follow."""
    reader.skip_sign()
    closed = reader.sees("]")
    while not (closed or reader.is_done):
        line = reader.line()
        yield line, reader.value()
        closed = reader.sees("]")
        if not closed:
            if not reader.sees(","):
                raise ValueError(f"line {line}: not JSON: no , or ] after this row")
            reader.skip_sign()
    if not closed:
        raise ValueError(f"line {reader.line()}: not JSON: the list of rows has no end, ]")
    end = reader.line()
    reader.skip_sign()
    if not reader.is_done:
        raise ValueError(f"line {end}: not JSON: text after the end of the list of rows")


class _JsonReader:
    """A place in a text, from which values and single signs are read; blanks are passed over."""

    def __init__(self, text: str) -> None:
        self._decoder = json.JSONDecoder(
            parse_float=Number, parse_int=_integer, parse_constant=float, object_pairs_hook=_object
        )
        self._text, self._line, self._counted = text, 1, 0
        self._place = self._after_blank(0)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self._place >= len(self._text)

    def sees(self, sign: str) -> bool:
        """Return whether a sign is next."""
        return self._text.startswith(sign, self._place)

    def skip_sign(self) -> None:
        """Pass over one sign."""
        self._place = self._after_blank(self._place + 1)

    def line(self) -> int:
        """Return the number of this line, counted from 1."""
        self._line += self._text.count("\n", self._counted, self._place)
        self._counted = self._place
        return self._line

    def value(self) -> Any:
        """Return the next value; raise ValueError, naming the line, if it is not one."""
        try:
            value, end = self._decoder.raw_decode(self._text, self._place)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {self.line()}: not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {self.line()}: {error}") from error
        self._place = self._after_blank(end)
        return value

    def _after_blank(self, place: int) -> int:
        match = BLANK.match(self._text, place)
        return match.end() if match else place


def _integer(digits: str) -> int | Number:
    kept = digits != "-0" and len(digits) <= MOST_DIGITS
    return int(digits) if kept else Number(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return values
