"""Finds the files of each split in a folder of data files."""

import shutil
import tempfile
from pathlib import Path

from score_ray.tasks.tables.source import KNOWN_KINDS, DataSource, is_data_file, kind_of


def files_of_folder(source: DataSource, folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split, by the rules of the library `datasets`.

    Their names say which split they belong to, or the head of a README.md does. Raises
    ValueError if there are no data files, several kinds of them, one that belongs to no split, or
    no such config.
    """
    files = _files_of_one_kind(source, folder)
    with tempfile.TemporaryDirectory() as temporary:
        # The library takes the folder's path for a pattern, and all that counts for it are the
        # names in the folder. So it gets them in a place without special signs.
        names = Path(temporary).resolve() / "set"
        _copy_names(files, folder, names)
        found = _files_by_library(source, names)
    splits = {
        split: [folder / Path(path).relative_to(names) for path in paths]
        for split, paths in found.items()
    }
    taken = {path for paths in splits.values() for path in paths}
    left = sorted(str(path.relative_to(folder)) for path in files if path not in taken)
    if left and not _lists_files(folder / "README.md"):  # which may leave files out on purpose
        raise ValueError(
            f"{source.text}: {left[0]!r} belongs to no split, as {len(left)} in all; the splits "
            f"are {list(splits)}. Give it a name such as train-2{Path(left[0]).suffix.lower()}, "
            "move it away, or name the file that is meant"
        )
    return splits


def _files_of_one_kind(source: DataSource, folder: Path) -> list[Path]:
    """Return the data files of a folder; raise ValueError unless there are some, of one kind."""
    if not folder.is_dir():
        raise ValueError(f"{source.text}: is neither a file nor a folder")
    files = [p for p in folder.rglob("*") if _counts(p, folder)]
    if not files:
        raise ValueError(f"{source.text}: no data files in this folder; {KNOWN_KINDS} is expected")
    if len({kind_of(p) for p in files}) > 1:
        # The library would read the most frequent kind and ignore the others.
        ends = sorted({p.suffix for p in files})
        raise ValueError(f"{source.text}: {' and '.join(ends)} files in one folder; name a file")
    return files


def _counts(path: Path, folder: Path) -> bool:
    """Return whether a path below a folder is a data file, and not hidden as `datasets` has it."""
    hidden = any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    is_file = is_data_file(path) and path.name != "dataset_infos.json" and not path.is_dir()
    return is_file and not hidden


def _copy_names(files: list[Path], folder: Path, target: Path) -> None:
    """Make empty files of the same names below `target`, and copy the README.md."""
    for path in files:
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    if (folder / "README.md").is_file():
        shutil.copy(folder / "README.md", target / "README.md")


def _files_by_library(source: DataSource, folder: Path) -> dict[str, list[str]]:
    """Return the files of each split as the library `datasets` finds them."""
    import datasets
    import yaml

    cache = folder.parent / "cache"
    try:
        builder = datasets.load_dataset_builder(
            str(folder), name=source.config or None, cache_dir=str(cache)
        )
    except (
        datasets.exceptions.DatasetsError,
        OSError,
        ValueError,
        RuntimeError,
        yaml.YAMLError,
    ) as error:
        place = "README.md: " if isinstance(error, yaml.YAMLError) else ""
        reason = place + " ".join(str(error).split()).replace(str(folder), str(source.place))
        hint = missing_config(reason, source.place)
        raise ValueError(f"{source.text}: {reason}{hint}") from error
    found = builder.config.data_files or {}
    return {str(split): list(paths) for split, paths in found.items()}


def _lists_files(readme: Path) -> bool:
    """Return whether the head of a README.md names files of configs."""
    lines = readme.read_text(errors="replace").split("\n") if readme.is_file() else []
    return lines[:1] == ["---"] and any(line.startswith("configs:") for line in lines)


def missing_config(reason: str, place: str) -> str:
    """Return how a config is named, if its lack is the reason that the library gives; else ""."""
    missing = "Config name is missing" in reason
    return f" It is named after a colon: {place}:CONFIG" if missing else ""
