"""Reads csv and tsv, in which every value is text."""

import csv
import io
import sys

from score_ray.tasks.tables.table import DataTable


def read_csv(text: str, delimiter: str) -> DataTable:
    """Return the rows below the header; empty lines are left out.

    Raises ValueError naming a column that stands twice in the header, or the line, counted from
    1, that has more or fewer fields than the header or an open quote.
    """
    csv.field_size_limit(sys.maxsize)  # the default refuses texts of more than 131,072 characters
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    rows = []
    try:
        for fields in reader:
            if not fields:
                continue
            if not names:
                names = _header(fields)
            elif len(fields) != len(names):
                raise ValueError(
                    f"line {reader.line_num}: {len(fields)} fields, but the header has "
                    f"{len(names)}; a text with a separator or a line break needs quotes"
                )
            else:
                rows.append(dict(zip(names, fields, strict=True)))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    return DataTable(tuple(names), rows)


def _header(names: list[str]) -> list[str]:
    twice = [name for name in names if name.strip() and names.count(name) > 1]
    if twice:
        raise ValueError(f"the column {twice[0]!r} stands twice in the header; rename one")
    return names
