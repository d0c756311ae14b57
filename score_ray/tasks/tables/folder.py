"""Finds the files of each split in a folder of data files."""

import shutil
import tempfile
from pathlib import Path

from score_ray.tasks.tables.source import KNOWN_KINDS, DataSource, is_data_file, kind_of


def files_of_folder(source: DataSource, folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split, by the rules of the library `datasets`.

    Their names say which split they belong to, or the head of a README.md does. Raises
    ValueError if there are no data files, several kinds of them, or no such config.
    """
    files = [p for p in folder.rglob("*") if is_data_file(p) and p.name != "dataset_infos.json"]
    if not files:
        raise ValueError(f"{source.text}: no data files in this folder; {KNOWN_KINDS} is expected")
    if len({kind_of(p) for p in files}) > 1:
        # The library would read the most frequent kind and ignore the others.
        names = sorted({p.suffix for p in files})
        raise ValueError(f"{source.text}: {' and '.join(names)} files in one folder; name a file")
    with tempfile.TemporaryDirectory() as temporary:
        # The library takes the folder's path for a pattern, and all that counts for it are the
        # names in the folder. So it gets them in a place without special signs.
        names = Path(temporary).resolve() / "set"
        _copy_names(files, folder, names)
        found = _data_files(source, names)
    return {
        split: [folder / Path(path).relative_to(names) for path in paths]
        for split, paths in found.items()
    }


def _copy_names(files: list[Path], folder: Path, target: Path) -> None:
    """Make empty files of the same names below `target`, and copy the README.md."""
    for path in files:
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    if (folder / "README.md").is_file():
        shutil.copy(folder / "README.md", target / "README.md")


def _data_files(source: DataSource, folder: Path) -> dict[str, list[str]]:
    import datasets

    cache = folder.parent / "cache"
    try:
        builder = datasets.load_dataset_builder(
            str(folder), name=source.config or None, cache_dir=str(cache)
        )
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).replace(str(folder), str(source.place))
        hint = missing_config(reason, source.place)
        raise ValueError(f"{source.text}: {reason}{hint}") from error
    found = builder.config.data_files or {}
    return {str(split): list(paths) for split, paths in found.items()}


def missing_config(reason: str, place: str) -> str:
    """Return how a config is named, if its lack is the reason that the library gives; else ""."""
    missing = "Config name is missing" in reason
    return f" It is named after a colon: {place}:CONFIG" if missing else ""
