"""Questions and answers from local files and Hugging Face data sets."""

from pathlib import Path
from typing import Any

from score_ray.types import Problem

READERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}


def load_problems(
    source: str, split: str, question_column: str, answer_column: str
) -> list[Problem]:
    """All rows of `source`: a json, jsonl, csv or parquet file, or a data set "name[:config]".

    Raises FileNotFoundError for a missing file and ValueError for a missing column, an empty
    split or a row without an answer; each names what is wrong.
    """
    table = _load(source, split)
    for column in (question_column, answer_column):
        if column not in table.column_names:
            raise ValueError(f"{source}: no column {column!r}; it has {table.column_names}")
    if len(table) == 0:
        raise ValueError(f"{source}: the {split} split is empty")
    problems = []
    for index, row in enumerate(table.select_columns([question_column, answer_column])):
        if row[question_column] is None or row[answer_column] is None:
            raise ValueError(f"{source}: row {index} has no question or no answer")
        problems.append(Problem(index, str(row[question_column]), str(row[answer_column])))
    return problems


def _load(source: str, split: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    try:
        return _read(datasets, source, split)
    except datasets.exceptions.DatasetsError as error:
        cause = error.__cause__ or error  # the outer one only says that there was an error
        raise ValueError(f"{source}: cannot be read: {cause}") from error


def _read(datasets: Any, source: str, split: str) -> Any:
    suffix = Path(source).suffix
    if suffix in READERS:
        path = Path(source).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{source}: no such data file")
        if path.stat().st_size == 0:
            raise ValueError(f"{source}: the {split} split is empty")
        return datasets.load_dataset(READERS[suffix], data_files=str(path), split="train")
    name, _, config = source.partition(":")
    return datasets.load_dataset(name, config or None, split=split)
