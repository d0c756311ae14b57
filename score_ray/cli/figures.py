"""`score-ray figures`: draw the paper's figures of finished runs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from score_ray.cli.arguments import refuse_options
from score_ray.types import ConfigError

if TYPE_CHECKING:
    from score_ray.experiments.figures.extra_samples import ExtraSamples
    from score_ray.reporting.run_folder import RunFolder

SAMPLING_OPTIONS = ("attempts", "samples", "temperature", "problems")


def figures(  # noqa: PLR0913  (a parameter is an option)
    context: typer.Context,
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
    from score_ray.reporting.run_folder import RunFolder

    if not sampling:
        refuse_options(context, SAMPLING_OPTIONS, "nothing is sampled with --no-sampling")
    runs = [RunFolder(folder) for folder in folders]
    for folder in runs:
        folder.trained_model()
    if out is None and len(folders) > 1:
        raise ConfigError("--out: name a folder for the figures of several runs")

    if sampling:
        from score_ray.experiments.figures.extra_samples import ExtraSamples

        _sample(runs, ExtraSamples(attempts, samples, temperature, problems))
    _draw(runs, out or runs[0].figures)


def _sample(runs: "list[RunFolder]", wanted: "ExtraSamples") -> None:
    """Sample what the figures need and the run folders lack."""
    from score_ray.experiments.figures.extra_samples import draw_missing_samples
    from score_ray.training.model_source import CACHE

    for folder in runs:
        draw_missing_samples(folder, wanted, CACHE, partial(typer.echo, err=True))


def _draw(runs: "list[RunFolder]", out: Path) -> None:
    """Draw all figures of some runs and a page with them; print where they are."""
    from score_ray.experiments.figures.figures import draw
    from score_ray.experiments.figures.page import write_page
    from score_ray.experiments.figures.series import series_of

    drawn = draw(series_of(runs), out)
    title = ", ".join(folder.path.resolve().name for folder in runs)
    write_page(title, drawn, out / "figures.html")
    for path in [*drawn, out / "figures.html"]:
        typer.echo(path)
