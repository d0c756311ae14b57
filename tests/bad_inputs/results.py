"""A file of outcomes, so that the bad inputs that have been given need not be given again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bad_inputs.case import Case
from tests.bad_inputs.process import Outcome


class Results:
    """Outcomes as JSON lines in a file; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def add(self, outcome: Outcome) -> None:
        """Append an outcome."""
        if self._path:
            record = {**vars(outcome), "case": outcome.case.title, "input": _input(outcome.case)}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(record)}\n")

    def of(self, cases: Sequence[Case]) -> list[Outcome]:
        """Return the outcomes that the file has of these cases, unless a case is another now."""
        if not self._path or not self._path.is_file():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines()
        records = {record["case"]: record for record in map(json.loads, lines)}
        return [
            _outcome(case, records[case.title])
            for case in cases
            if case.title in records and records[case.title]["input"] == _input(case)
        ]


def _outcome(case: Case, record: dict[str, Any]) -> Outcome:
    left, faults = tuple(record["left"]), tuple(record["faults"])
    message, code, seconds = record["message"], record["code"], record["seconds"]
    return Outcome(case, message, code, seconds, left, faults, record["skipped"])


def _input(case: Case) -> str:
    """Return a case as text, without what makes its files, which has no text."""
    return repr({key: value for key, value in vars(case).items() if key != "make"})
