"""Reads questions and answers from files, folders and Hugging Face data sets.

A source is PLACE[:CONFIG][@SPLIT]. PLACE is a json, jsonl, csv, tsv or parquet file (or one
of them with .gz), a folder of such files of one kind, a folder that `save_to_disk` of the
library `datasets` wrote, or the name of a Hugging Face data set. SPLIT may be a part of a split:
`train[:500]`. Without SPLIT, a single table is read whole, and from other sources the split that
is asked for.
"""

import json
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_ray.types import Problem

READERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
MAX_NAMED_ROWS = 5  # in an error message
LEVEL = "level"  # an optional column that names the difficulty of each row


@dataclass(frozen=True, slots=True)
class _Source:
    """The parts of a source; `text` is the source itself, for error messages."""

    text: str
    place: str
    config: str
    split: str

    @property
    def path(self) -> Path:
        return Path(self.place).expanduser()


def load_problems(
    source: str, split: str, question_column: str, answer_column: str
) -> list[Problem]:
    """Return all rows of a source in its order, from `split` if the source names none.

    A column `level` names their difficulty. Raises FileNotFoundError or ValueError, naming the
    source and the column, row or split.
    """
    columns = (question_column, answer_column)
    table = load_table(source, split, columns)
    for column in columns:
        check_column(table, source, column, hint=" (task.question_column, task.answer_column)")
    rows = [
        tuple(_text(source, index, column, row[column]) for column in columns)
        for index, row in enumerate(table.select_columns(list(set(columns))))
    ]
    _check_none_missing(source, rows)
    levels = _levels(table)
    return [Problem(i, *texts, level=levels[i]) for i, texts in enumerate(rows)]


def load_table(source: str, split: str, text_columns: Sequence[str] = ()) -> Any:
    """Return all rows of a source as a `datasets.Dataset`; `text_columns` of csv files stay text.

    Raises FileNotFoundError or ValueError, naming the source.
    """
    import datasets
    import pandas

    parts = _parse_source(source)
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are reported below
    arguments = {"split": parts.split or split, **_arguments(parts, text_columns)}
    try:
        with warnings.catch_warnings():
            # pandas would only warn of a csv row with too many fields, and drop the last ones.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            table = datasets.load_dataset(**arguments)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(_reason(parts, arguments["split"], error)) from error
    if len(table) == 0:
        raise ValueError(f"{source}: the {arguments['split']} split is empty")
    return table


def check_column(table: Any, source: str, *names: str, hint: str = "") -> None:
    """Raise ValueError unless the table has one of the columns `names`."""
    if not set(names) & set(table.column_names):
        wanted = " or ".join(map(repr, names))
        raise ValueError(f"{source}: no column {wanted}; it has {table.column_names}{hint}")


def shared_questions(train: Sequence[Problem], test: Sequence[Problem]) -> int:
    """Count the test problems whose question is also in train, up to white space."""
    known = {" ".join(problem.question.split()) for problem in train}
    return sum(" ".join(problem.question.split()) in known for problem in test)


def _text(source: str, index: int, column: str, value: object) -> str:
    if isinstance(value, str | int | float):
        return str(value)
    if value is None:
        return ""
    raise ValueError(
        f"{source}: row {index}: column {column!r} holds a {type(value).__name__}; "
        "a text or a number is expected"
    )


def _levels(table: Any) -> list[str]:
    """Return each row's difficulty if it is a text or a number, else ""."""
    if LEVEL not in table.column_names:
        return [""] * len(table)
    return [_level(value) for value in table[LEVEL]]


def _level(value: object) -> str:
    if isinstance(value, float):  # whole numbers become floats if one of the column is missing
        return "" if math.isnan(value) else f"{value:g}"
    return str(value).strip() if isinstance(value, str | int) else ""


def _check_none_missing(source: str, rows: list[tuple[str, ...]]) -> None:
    """Raise ValueError, naming the rows, if a question or an answer is empty."""
    gaps = [str(i) for i, row in enumerate(rows) if not all(text.strip() for text in row)]
    if gaps:
        more = f" and {len(gaps) - MAX_NAMED_ROWS} more" if len(gaps) > MAX_NAMED_ROWS else ""
        named = f"{'rows' if len(gaps) > 1 else 'row'} {', '.join(gaps[:MAX_NAMED_ROWS])}{more}"
        raise ValueError(f"{source}: no question or no answer in {named} (counted from 0)")


def _parse_source(source: str) -> _Source:
    if Path(source).expanduser().exists():
        return _Source(source, source, "", "")
    place, _, split = source.partition("@")
    place, _, config = place.partition(":")
    return _Source(source, place, config, split)


def _arguments(source: _Source, columns: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of load_dataset, after checks that it would not make clearly."""
    path = source.path
    if path.is_file():
        if path.stat().st_size == 0:
            raise ValueError(f"{source.text}: the file is empty")
        kind = _kind(path)
        if not kind:
            raise ValueError(f"{source.text}: not a data file; {_known_kinds()} is expected")
        return {
            "path": kind,
            "data_files": str(path),
            "split": source.split or "train",
            **_options(path, columns),
        }
    if path.is_dir():
        return _folder_arguments(source, columns)
    if not NAME.fullmatch(source.place) or _kind(path):
        raise FileNotFoundError(f"{source.text}: no such data file or folder")
    return {"path": source.place, "name": source.config or None}


def _folder_arguments(source: _Source, columns: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of load_dataset for a saved data set or a folder of data files."""
    folder = source.path
    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_text())["splits"]
        return {"path": "arrow", "data_files": {s: _shards(folder / s) for s in splits}}
    if (folder / "state.json").is_file():
        whole = {"split": source.split or "train"}
        return {"path": "arrow", "data_files": {"train": _shards(folder)}, **whole}
    files = [p for p in sorted(folder.rglob("*")) if _kind(p) and p.name != "dataset_infos.json"]
    if not files:
        raise ValueError(
            f"{source.text}: no data files in this folder; {_known_kinds()} is expected"
        )
    if len({_kind(p) for p in files}) > 1:
        # The library would read the most frequent kind and ignore the others.
        names = sorted({p.suffix for p in files})
        raise ValueError(f"{source.text}: {' and '.join(names)} files in one folder; name a file")
    name = source.config or None
    return {"path": str(folder), "name": name, **_options(files[0], columns)}


def _shards(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.arrow"))]


def _options(path: Path, columns: Sequence[str]) -> dict[str, Any]:
    """Return options that keep the text of csv files: 007 does not become 7, nor N/A missing."""
    if _kind(path) != "csv":
        return {}
    sep = "\t" if ".tsv" in path.suffixes else ","
    converters = dict.fromkeys(columns, str)
    return {"converters": converters, "keep_default_na": False, "index_col": False, "sep": sep}


def _kind(path: Path) -> str | None:
    return READERS.get(Path(path.name.removesuffix(".gz")).suffix)


def _known_kinds() -> str:
    return ", ".join(suffix.removeprefix(".") for suffix in READERS)


def _reason(source: _Source, split: str, error: Exception) -> str:
    """Return a sentence that says what is wrong with a source and what would be right."""
    lines = str(error.__cause__ or error).strip().split("\n")  # the outer error says little
    cause = " ".join(lines[:2])
    if "corresponds to no data" in cause:
        return f"{source.text}: the {split} split is empty"
    if "Unknown split" in cause:
        return (
            f"{source.text}: {cause} A split, or a part of one, is named after @: "
            f"task.train={source.place}@train[500:] and task.test={source.place}@train[:500]"
        )
    if "Config name is missing" in cause:
        return f"{source.text}: {cause} It is named after a colon: {source.place}:CONFIG"
    if not source.path.exists():
        return f"{source.text}: no such file or folder, and no data set that can be loaded: {cause}"
    return f"{source.text}: cannot be read: {_broken_line(source.path) or cause}"


def _broken_line(path: Path) -> str | None:
    """Return the first line of a jsonl file that is not JSON, and why; None if there is none."""
    if path.suffix != ".jsonl" or not path.is_file():
        return None
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            json.loads(line or b"0")
        except ValueError as error:
            return f"line {number}: {error}"
    return None
