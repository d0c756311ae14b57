"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[Path, typer.Argument(help="A config file, such as configs/arithmetic.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SECTION.KEY=VALUE]...", help="Values to use in place of the config file's."
    ),
]
Runs = Annotated[Path, typer.Option(help="The folder that holds the run folders.")]
FolderOfRun = Annotated[Path, typer.Argument(help="A run folder, such as runs/arithmetic.")]
Measured = Annotated[int, typer.Option(help="Iterations to measure, after one warm-up.")]
