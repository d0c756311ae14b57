"""Arguments and options that several commands take."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import typer

from score_ray.types import ConfigError


def _path(text: str | Path) -> Path:
    """Return a path with the home folder in place of a `~`, as a shell would have it."""
    if not str(text).strip():
        raise typer.BadParameter("a path is expected; it is empty")
    return Path(os.path.expanduser(text))


Recipe = Annotated[
    Path,
    typer.Argument(
        help="A config file, such as configs/arithmetic.yaml.", parser=_path, metavar="CONFIG"
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SECTION.KEY=VALUE]...",
        help="Values to use in place of the config file's. Text is taken as it stands, numbers and "
        "lists are YAML; of several for a key the last one counts.",
    ),
]
Runs = Annotated[
    Path, typer.Option(help="The folder that holds the run folders.", parser=_path, metavar="PATH")
]
FolderOfRun = Annotated[
    Path,
    typer.Argument(help="A run folder, such as runs/arithmetic.", parser=_path, metavar="FOLDER"),
]
Measured = Annotated[int, typer.Option(help="Iterations to measure, after one warm-up.", min=1)]


def with_flags(
    overrides: list[str] | None, flags: Mapping[str, tuple[str, str | None]]
) -> list[str]:
    """Return the overrides, and those that flags stand for.

    `flags` has the key and the value of each flag by its name, such as --model_name; the value is
    None for one that is not given. Raises ConfigError if an override sets the same key differently.
    """
    from score_ray.config.overrides import keys_set_by

    chosen = list(overrides or [])
    for flag, (key, value) in flags.items():
        if value is None:
            continue
        for override in overrides or []:
            touched = [one for one in keys_set_by(override) if f"{one}.".startswith(f"{key}.")]
            if touched and override != f"{key}={value}":
                raise ConfigError(
                    f"{flag} {value!r}: {override!r} sets {key} too; give one of them"
                )
        chosen.append(f"{key}={value}")
    return chosen


def refuse_unused(
    command: str,
    overrides: list[str] | None,
    unused: Collection[str],
    remedy: str = "leave it out",
) -> None:
    """Raise ConfigError if an override sets a key, or a section, that the command does not use."""
    from score_ray.config.overrides import keys_set_by

    for override in overrides or []:
        for key in keys_set_by(override):
            if any(f"{key}.".startswith(f"{one}.") for one in unused):
                raise ConfigError(f"{key}: `{command}` does not use it; {remedy}")


def refuse_options(context: typer.Context, names: Collection[str], reason: str) -> None:
    """Raise ConfigError if one of the options, by the names of their parameters, is given."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"--{name}: {reason}; leave it out")
