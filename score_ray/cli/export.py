"""`score-ray export`: write a checkpoint as a Hugging Face model."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from score_ray.cli.arguments import FolderOfRun


def export(
    folder: FolderOfRun,
    out: Annotated[Path, typer.Argument(help="The folder to write the model to.")],
    iteration: Annotated[
        int, typer.Option(help="Updates made before the checkpoint; 0 takes the newest.")
    ] = 0,
) -> None:
    """Write a checkpoint of a run as a Hugging Face model, for transformers and vLLM."""
    from score_ray.config.loading import input_errors
    from score_ray.reporting.run_folder import RunFolder
    from score_ray.training import checkpoint

    run = RunFolder(folder)
    config = run.config()
    with input_errors():
        source = checkpoint.find(run.checkpoints, iteration)

    from score_ray.training.inputs import check_inputs
    from score_ray.training.model_source import CACHE
    from score_ray.training.roles import only_learner

    note = partial(typer.echo, err=True)
    with only_learner(check_inputs(config, CACHE), _print_event, note) as learner:
        learner.restore(source)
        learner.export(out)
    typer.echo(f"{source} -> {out}")


def _print_event(_: str, who: str, what: str, **numbers: float) -> None:
    typer.echo(f"{who}: {what}", err=True)
