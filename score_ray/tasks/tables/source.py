"""The parts of a source, PLACE[:CONFIG][@SPLIT], where PLACE may hold these signs itself."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")  # of a data set on the hub
SIGNS = re.compile(r"[:@]")
LIST_HINT = (
    "; a list of data sets has the form task.train=[{path: a.jsonl, weight: 2.0}, ...], with "
    "quotes around a path that holds brackets or commas"
)


@dataclass(frozen=True, slots=True)
class DataSource:
    """The parts of a source; `text` is the source itself, for messages.

    `path` is None for a data set on the hub, which `place` names.
    """

    text: str
    place: str
    path: Path | None
    config: str
    split: str


def parse_source(text: str) -> DataSource:
    """Return the parts of a source; the longest file or folder that exists is its place.

    Raises FileNotFoundError if there is no such place and the text is no name on the hub either,
    and ValueError if nothing follows a sign.
    """
    for end in [len(text), *(match.start() for match in reversed(list(SIGNS.finditer(text))))]:
        path = _existing(text[:end])
        config, split = _parts(text[end:])
        if path and "/" not in config + split:  # else only a folder on the way to it exists
            _check_signs(text, text[end:], config, split)
            return DataSource(text, text[:end], path, config, split)
    place, _, split = text.partition("@")
    place, _, config = place.partition(":")
    if not NAME.fullmatch(place) or is_data_file(Path(place)) or "/" in config + split:
        hint = LIST_HINT if text.startswith(("[", "{")) else ""
        raise FileNotFoundError(f"{text}: no such data file or folder{hint}")
    _check_signs(text, text[len(place) :], config, split)
    return DataSource(text, place, None, config, split)


def absolute_source(text: str) -> str:
    """Return a source with an absolute place if that is a file or folder here, else unchanged."""
    try:
        source = parse_source(text)
    except (FileNotFoundError, ValueError):
        return text
    return f"{source.path.absolute()}{text[len(source.place) :]}" if source.path else text


def _existing(place: str) -> Path | None:
    """Return the path of a place; "~" is the home folder unless a file has that name."""
    if not place:
        return None
    paths = (Path(place), Path(os.path.expanduser(place)))
    try:
        return next((path for path in paths if path.exists()), None)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise


def _parts(rest: str) -> tuple[str, str]:
    """Return the config and the split in what follows a place."""
    if rest.startswith("@"):
        return "", rest[1:]
    config, _, split = rest[1:].partition("@")
    return config, split


def _check_signs(text: str, rest: str, config: str, split: str) -> None:
    """Raise ValueError if a sign in what follows a place names nothing."""
    if rest.startswith(":") and not config:
        raise ValueError(f"{text}: no config is named after :")
    if "@" in rest and not split:
        raise ValueError(f"{text}: no split is named after @")


def kind_of(path: Path) -> str:
    """Return json, csv or parquet by the end of a file's name, which .gz may follow; else ""."""
    kinds = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
    return kinds.get(Path(path.name.lower().removesuffix(".gz")).suffix, "")


def is_data_file(path: Path) -> bool:
    """Return whether a file's name has the end of a data file's."""
    return bool(kind_of(path))


KNOWN_KINDS = "json, jsonl, csv, tsv, parquet"
