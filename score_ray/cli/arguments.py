"""What several commands of the command line take."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[Path, typer.Argument(help="for instance configs/arithmetic.yaml")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...")]
Runs = Annotated[Path, typer.Option(help="where run folders are kept")]
RunFolder = Annotated[Path, typer.Argument(help="a run folder, for instance runs/arithmetic")]
