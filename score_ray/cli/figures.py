"""`score-ray figures`: draw the paper's figures of finished runs."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from score_ray.types import ConfigError


def figures(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder for the figures; required for several runs.",
            show_default="RUN/figures",
        ),
    ] = None,
    attempts: Annotated[
        int, typer.Option(help="Greedy attempts in a row per problem.", min=2, max=10)
    ] = 10,
    samples: Annotated[int, typer.Option(help="Sampled episodes per problem.", min=2)] = 32,
    temperature: Annotated[
        float, typer.Option(help="Temperature of the sampled episodes.", min=0.01)
    ] = 0.7,
    problems: Annotated[
        int, typer.Option(help="Problems to sample; 0 takes as many as the run evaluates.", min=0)
    ] = 0,
    sampling: Annotated[
        bool, typer.Option(help="Sample from the trained and the base model what is missing.")
    ] = True,
) -> None:
    """Draw the paper's figures of a run, or of several side by side."""
    for folder in folders:
        require_run(folder)
    if out is None and len(folders) > 1:
        raise ConfigError("--out: name a folder for the figures of several runs")

    from score_ray.experiments.figures.data import series_of
    from score_ray.experiments.figures.figures import draw, write_page

    if sampling:
        from score_ray.experiments.figures.extra_samples import Study, complete
        from score_ray.training.model_source import CACHE

        for folder in folders:
            study = Study(attempts, samples, temperature, problems)
            complete(folder, study, CACHE, partial(typer.echo, err=True))
    chosen = out or folders[0] / "figures"
    drawn = draw(series_of(folders), chosen)
    title = ", ".join(folder.resolve().name for folder in folders)
    write_page(title, drawn, chosen / "figures.html")
    for path in [*drawn, chosen / "figures.html"]:
        typer.echo(path)


def require_run(folder: Path) -> None:
    """Raise ConfigError unless a folder holds a finished run."""
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder}: not a run folder: it has no config.yaml")
    if not (folder / "model").is_dir():
        raise ConfigError(f"{folder}: has no model yet; a finished run leaves one")
