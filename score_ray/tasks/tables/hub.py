"""Loads data sets of the Hugging Face hub."""

import re

from score_ray.config.suggestions import did_you_mean
from score_ray.tasks.tables.arrow_file import Columns, rows_of
from score_ray.tasks.tables.folder import missing_config
from score_ray.tasks.tables.hub_address import hub_fault
from score_ray.tasks.tables.source import DataSource
from score_ray.tasks.tables.table import DataTable


def load_from_hub(source: DataSource, split: str, wanted: Columns) -> DataTable:
    """Return the rows of a split, or of a part of one, of a data set on the hub.

    Raises ValueError if it cannot be loaded.
    """
    import datasets
    from datasets.packaged_modules.csv.csv import Csv
    from datasets.packaged_modules.json.json import Json

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are reported below
    name = source.config or None
    offline, fault = datasets.config.HF_HUB_OFFLINE, hub_fault()
    datasets.config.HF_HUB_OFFLINE = bool(offline or fault)  # else it asks for half a minute
    try:
        builder = datasets.load_dataset_builder(source.place, name)
        options = {}
        if isinstance(builder, Csv):  # 007 must not become 7, nor N/A a missing value
            options = {"converters": dict.fromkeys(wanted or (), str), "keep_default_na": False}
        loaded = datasets.load_dataset(source.place, name, split=split, **options)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        why = f"{_reason(source, error)}{f' ({fault})' if fault else ''}"
        raise ValueError(f"{source.text}: {why}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    return rows_of(loaded.with_format("arrow")[:], wanted, isinstance(builder, Json))


def _reason(source: DataSource, error: Exception) -> str:
    lines = str(error.__cause__ or error).strip().split("\n")  # the outer error says little
    cause = " ".join(lines[:2])
    if "Unknown split" in cause:
        wrong, *known = re.findall(r"[\"']([^\"']*)[\"']", cause)
        return f"no split {wrong!r}; it has {known}{did_you_mean(wrong, known)}"
    if hint := missing_config(cause, source.place):
        return f"{cause}{hint}"
    return f"no such file or folder, and no data set that can be loaded: {cause}"
