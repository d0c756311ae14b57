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
    decoder = json.JSONDecoder(
        parse_float=Number, parse_int=_integer, parse_constant=float, object_pairs_hook=_object
    )
    place, line, counted = _after_blank(text, 0), 1, 0
    in_array = text.startswith("[", place)
    if in_array:
        place = _after_blank(text, place + 1)
    closed = in_array and text.startswith("]", place)
    while place < len(text) and not closed:
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {line}: not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {line}: {error}") from error
        yield line, value
        place = _after_blank(text, place)
        if in_array:
            closed = text.startswith("]", place)
            if not closed and not text.startswith(",", place):
                raise ValueError(f"line {line}: not JSON: no , or ] after this row")
            place = place if closed else _after_blank(text, place + 1)
    if in_array:
        _check_end(text, place, closed)


def _check_end(text: str, place: int, closed: bool) -> None:
    """Raise ValueError unless an array is closed and nothing follows it."""
    line = 1 + text.count("\n", 0, place)
    if not closed:
        raise ValueError(f"line {line}: not JSON: the list of rows has no end, ]")
    if text[place + 1 :].strip():
        raise ValueError(f"line {line}: not JSON: text after the end of the list of rows")


def _after_blank(text: str, place: int) -> int:
    match = BLANK.match(text, place)
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
