"""Reads and writes JSON lines: files with one record per line."""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def no_fault(record: Record) -> str:
    """Find nothing wrong with a record."""
    return ""


def read_jsonl(path: Path, fault: Callable[[Record], str] = no_fault) -> list[Record]:
    """Return a file's records, without a last line that a kill left half-written; [] if absent.

    Raises ValueError, naming file and line, for damage anywhere else, and for a record with a
    `fault`: that says what is wrong with a record, or nothing.
    """
    if not path.exists():
        return []
    # Split as bytes, because a half-written line may end inside a character.
    *whole, last = path.read_bytes().split(b"\n")
    records = [_record(path, number, line, fault) for number, line in enumerate(whole, 1)]
    try:
        return [*records, _record(path, len(whole) + 1, last, fault)]
    except ValueError:
        return records


def _record(path: Path, number: int, line: bytes, fault: Callable[[Record], str]) -> Record:
    record: Any = None
    with suppress(ValueError):
        record = json.loads(line)
    what = fault(record) if isinstance(record, dict) else "not a JSON record"
    if what:
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
