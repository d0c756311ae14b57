"""Reads and writes JSON lines: files with one record per line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read_jsonl(path: Path) -> list[Record]:
    """Return a file's records, without a last line that a kill left half-written; [] if absent.

    Raises ValueError, naming file and line, for damage anywhere else.
    """
    if not path.exists():
        return []
    # Split as bytes, because a half-written line may end inside a character.
    *whole, last = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(whole, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not a JSON record") from error
    try:
        return [*records, json.loads(last)]
    except ValueError:
        return records


def as_lines(records: Iterable[Record]) -> str:
    """Return records as JSON lines; a NumPy number is written as a float."""
    return "".join(json.dumps(record, default=float) + "\n" for record in records)


def append_lines(path: Path, records: Iterable[Record]) -> None:
    """Append records to a .jsonl file; they are with the operating system on return."""
    append_text(path, as_lines(records))


def append_text(path: Path, text: str) -> None:
    """Append text to a file."""
    with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(text)
