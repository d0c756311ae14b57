"""`score-ray --version`."""

from typing import Annotated

import typer


def _print_version(wanted: bool) -> None:
    from importlib import metadata

    if not wanted:
        return
    try:
        version = metadata.version("score-ray")
    except metadata.PackageNotFoundError:
        version = "of an unknown version: the package is not installed"
    typer.echo(f"score-ray {version}")
    raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
]
