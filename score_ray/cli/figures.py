"""The command line of figures: `launch.py figures RUN [RUN...]`."""

from functools import partial
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from score_ray.config.config import ConfigError
from score_ray.reporting.run_folder import replace_file
from score_ray.training.model_source import CACHE


def figures(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="finished run folders")],
    out: Annotated[
        Path | None, typer.Option(help="where figures go; default: RUN/figures, if it is one run")
    ] = None,
    attempts: Annotated[int, typer.Option(help="in a row, greedily", min=2, max=10)] = 10,
    samples: Annotated[int, typer.Option(help="episodes per problem", min=2)] = 32,
    temperature: Annotated[float, typer.Option(help="of these", min=0.01)] = 0.7,
    problems: Annotated[
        int, typer.Option(help="sampled; default: as many as the run evaluates", min=0)
    ] = 0,
    sampling: Annotated[
        bool, typer.Option(help="sample what is missing, of the trained and the base model")
    ] = True,
) -> None:
    """Draw the paper's figures of a run, or of several side by side."""
    from score_ray.experiments.figures.data import series_of
    from score_ray.experiments.figures.figures import draw

    for folder in folders:
        require_run(folder)
    if out is None and len(folders) > 1:
        raise ConfigError("--out: name a folder for the figures of several runs")
    if sampling:
        from score_ray.experiments.figures.extra_samples import Study, complete

        for folder in folders:
            study = Study(attempts, samples, temperature, problems)
            complete(folder, study, CACHE, partial(typer.echo, err=True))
    chosen = out or folders[0] / "figures"
    drawn = draw(series_of(folders), chosen)
    title = ", ".join(folder.resolve().name for folder in folders)
    replace_file(chosen / "figures.html", page(title, drawn).encode())
    for path in [*drawn, chosen / "figures.html"]:
        typer.echo(path)


def require_run(folder: Path) -> None:
    """ConfigError unless a folder holds a finished run."""
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder}: not a run folder: it has no config.yaml")
    if not (folder / "model").is_dir():
        raise ConfigError(f"{folder}: has no model yet; a finished run leaves one")


def page(title: str, drawn: list[Path]) -> str:
    """The figures as one self-contained page."""
    from score_ray.experiments.figures.figures import figure_html
    from score_ray.reporting.html import html_page

    title = escape(f"score_ray: {title}")
    return html_page(title, [f"<h1>{title}</h1>", *map(figure_html, drawn)])
