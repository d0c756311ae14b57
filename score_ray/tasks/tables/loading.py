"""Reads the rows of files, folders and Hugging Face data sets.

A source is PLACE[:CONFIG][@SPLIT]. PLACE is a json, jsonl, csv, tsv or parquet file (or one
of them with .gz), a folder of such files of one kind, a folder that `save_to_disk` of the
library `datasets` wrote, or the name of a Hugging Face data set. SPLIT may be a part of a split:
`train[:500]`. Without SPLIT, a single table is read whole, and from other sources the split that
is asked for.

Files are read here and not by `datasets`, which takes their names for patterns, guesses the types
of columns, and keeps rows of files that have changed since.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from score_ray.config.suggestions import did_you_mean
from score_ray.tasks.tables.csv_file import read_csv
from score_ray.tasks.tables.json_file import read_json
from score_ray.tasks.tables.source import KNOWN_KINDS, DataSource, kind_of, parse_source
from score_ray.tasks.tables.table import DataTable, joined

Columns = Collection[str] | None
GZIP_START = b"\x1f\x8b"
ONLY = "train"  # the split of a file, and of a saved data set without splits


def load_table(source: str, split: str, wanted: Columns = None) -> DataTable:
    """Return the rows of a source, from `split` if the source names none.

    Where a kind of file allows it, only the wanted columns are read; None reads all.
    Raises FileNotFoundError or ValueError, naming the source and the file, line or split.
    """
    parts = parse_source(source)
    spec = parts.split or split
    if parts.path is None:
        from score_ray.tasks.tables.hub import load_from_hub

        table = load_from_hub(parts, spec, wanted)
    else:
        splits = _files_of_splits(parts, parts.path)
        spec = parts.split or (ONLY if _is_single(parts.path) else split)
        table = _read_split(parts, spec, splits, lambda file: _read(parts, file, wanted))
    if not table.rows:
        raise ValueError(f"{source}: the {spec} split is empty")
    return table


def _is_single(path: Path) -> bool:
    """Return whether a path is one table without splits."""
    saved = (path / "state.json").is_file() and not (path / "dataset_dict.json").is_file()
    return path.is_file() or saved


def _files_of_splits(source: DataSource, path: Path) -> Mapping[str, Sequence[Path]]:
    """Return the files of each split of a file or folder."""
    if (path / "dataset_dict.json").is_file():
        splits = {name: _shards(path / name) for name in _saved_splits(path / "dataset_dict.json")}
    elif _is_single(path):
        splits = {ONLY: [path] if path.is_file() else _shards(path)}
    else:
        from score_ray.tasks.tables.folder import files_of_folder

        return files_of_folder(source, path)
    if source.config:
        raise ValueError(
            f"{source.text}: {source.place} has no configs, and {source.config!r} names one"
        )
    return splits


def _saved_splits(path: Path) -> list[str]:
    """Return the names of the splits of a saved data set."""
    try:
        return list(json.loads(path.read_text())["splits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: does not list the splits of a saved data set") from error


def _shards(folder: Path) -> list[Path]:
    """Return the files that a saved table lists; others may lie there since an earlier time."""
    path = folder / "state.json"
    try:
        return [folder / file["filename"] for file in json.loads(path.read_text())["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: does not list the files of a saved data set") from error


def _read_split(
    source: DataSource,
    spec: str,
    splits: Mapping[str, Sequence[Path]],
    read: Callable[[Path], DataTable],
) -> DataTable:
    """Return the rows of a split, of a part of one, or of several that + joins."""
    names = [part.partition("[")[0].partition("(")[0].strip() for part in spec.split("+")]
    for name in names:
        if name not in splits:
            raise ValueError(f"{source.text}: {_no_split(source, name, list(splits))}")
    tables = {name: joined([read(file) for file in splits[name]]) for name in set(names)}
    if spec in tables:
        return tables[spec]
    try:
        return _part(tables, spec)
    except ValueError as error:
        raise ValueError(
            f"{source.text}: @{spec} is no part of a split; "
            f"@{names[0]}[:500] and @{names[0]}[10%:20%] would be"
        ) from error


def _part(tables: Mapping[str, DataTable], spec: str) -> DataTable:
    """Return the rows that a text such as "train[:10%]+test" names; raise ValueError if none."""
    from datasets import ReadInstruction

    sizes = {name: len(table.rows) for name, table in tables.items()}
    ranges = ReadInstruction.from_spec(spec).to_absolute(sizes)
    return joined([tables[part.splitname].part(part.from_, part.to) for part in ranges])


def _no_split(source: DataSource, name: str, known: list[str]) -> str:
    ends = did_you_mean(name, known) or "."
    return (
        f"no split {name!r}; it has {known}{ends} A split, or a part of "
        f"one, is named after @: task.train={source.place}@{known[0]}[500:] and "
        f"task.test={source.place}@{known[0]}[:500]"
    )


def _read(source: DataSource, path: Path, wanted: Columns) -> DataTable:
    """Return the rows of a file; the error for one that cannot be read names it."""
    named = source.text if path == source.path else f"{source.text}: {path.name}"
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{named}: the file is empty")
    try:
        return _rows(path, wanted)
    except (OSError, EOFError, zlib.error, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{named}: cannot be read: {reason}") from error


def _rows(path: Path, wanted: Columns) -> DataTable:
    if path.suffix == ".arrow":
        from score_ray.tasks.tables.arrow_file import read_arrow

        return read_arrow(path, wanted)
    kind = kind_of(path)
    if not kind:
        raise ValueError(f"not a data file; {KNOWN_KINDS} is expected")
    name, data = path.name.lower(), path.read_bytes()
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    elif data.startswith(GZIP_START):
        raise ValueError("its content is packed by gzip; let its name end in .gz")
    if kind == "parquet":
        from score_ray.tasks.tables.arrow_file import read_parquet

        return read_parquet(data, wanted)
    text = _decoded(data)
    if kind == "json":
        return read_json(text)
    return read_csv(text, "\t" if name.removesuffix(".gz").endswith(".tsv") else ",")


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise ValueError(
            f"line {line}: the byte 0x{data[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from error
