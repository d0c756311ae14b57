"""Reads and writes JSON lines: files with one record per line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read_jsonl(path: Path, key: str = "") -> list[Record]:
    """Return a file's records, without a last line that a kill left half-written; [] if absent.

    Raises ValueError, naming file and line, for damage anywhere else, and for a record without
    `key` if that is given.
    """
    if not path.exists():
        return []
    # Split as bytes, because a half-written line may end inside a character.
    *whole, last = path.read_bytes().split(b"\n")
    records = [_record(path, number, line, key) for number, line in enumerate(whole, 1)]
    try:
        return [*records, _record(path, len(whole) + 1, last, key)]
    except ValueError:
        return records


def _record(path: Path, number: int, line: bytes, key: str) -> Record:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or (key and key not in record):
        what = f"no {key!r} in this record" if isinstance(record, dict) else "not a JSON record"
        raise ValueError(f"{path}, line {number}: {what}; mend the line, or remove it")
    return record


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
