"""Reads parquet files, and the arrow files of data sets saved with `save_to_disk`."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from score_ray.tasks.tables.table import DataTable, GuessedDate, TooLargeTime

Columns = Collection[str] | None  # None for all


def read_parquet(data: bytes, wanted: Columns) -> DataTable:
    """Return the rows of a parquet file; raise ValueError or OSError if it is not one."""
    file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data), pre_buffer=False)
    # Threads of arrow that still live at the end of a process can abort it.
    return rows_of(file.read(use_threads=False), wanted)


def read_arrow(path: Path, wanted: Columns) -> DataTable:
    """Return the rows of an arrow file; raise ValueError or OSError if it is not one."""
    with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
        return rows_of(stream.read_all(), wanted)


def rows_of(table: pyarrow.Table, wanted: Columns, guesses_dates: bool = False) -> DataTable:
    """Return the rows of an arrow table, with the wanted columns alone; all if that is None.

    A wanted name may lead into a column by dots. With `guesses_dates` a column of times was text
    in the file, and its values are not known. Raises ValueError if a column stands twice.
    """
    names = table.column_names
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the column {name!r} stands twice; rename one")
    kept = [name for name in names if wanted is None or _is_wanted(name, wanted)]
    columns = [_values(table[name], guesses_dates) for name in kept]
    rows = [dict(zip(kept, row, strict=True)) for row in zip(*columns, strict=True)]
    return DataTable(tuple(names), rows or [{} for _ in range(table.num_rows)])


def _is_wanted(name: str, wanted: Collection[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for path in wanted)


def _values(column: Any, guesses_dates: bool) -> list[Any]:
    kind = column.type
    if guesses_dates and pyarrow.types.is_temporal(kind):
        return [GuessedDate()] * len(column)
    if pyarrow.types.is_time64(kind) and kind.unit == "ns":
        return column.cast(pyarrow.string()).to_pylist()  # Python's times end at microseconds
    try:
        values = column.to_pylist()
    except OverflowError:
        values = [_python_value(scalar) for scalar in column]
    return [_narrowed(value, kind) for value in values] if "float" in str(kind) else values


def _python_value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except OverflowError:
        return TooLargeTime()


def _narrowed(value: Any, kind: Any) -> Any:
    """Return a value whose floats have the width of the column, since Python has only one.

    Arrow's names of the widths are halffloat, float and double.
    """
    types = pyarrow.types
    if value is None:
        return None
    if types.is_float16(kind):
        return np.float16(value)
    if types.is_float32(kind):
        return np.float32(value)
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _narrowed(value, kind.storage_type)
    if types.is_dictionary(kind):
        return _narrowed(value, kind.value_type)
    if types.is_struct(kind):
        return {field.name: _narrowed(value[field.name], field.type) for field in kind}
    if types.is_nested(kind) and not types.is_map(kind) and isinstance(value, list):
        return [_narrowed(item, kind.value_type) for item in value]
    return value
