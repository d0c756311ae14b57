"""`score-ray export`: write a checkpoint as a Hugging Face model."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from score_ray.cli.arguments import FolderOfRun
from score_ray.cli.caches import writable
from score_ray.types import ConfigError


def export(
    folder: FolderOfRun,
    out: Annotated[Path, typer.Argument(help="The folder to write the model to: new, or empty.")],
    iteration: Annotated[
        int, typer.Option(help="Updates made before the checkpoint; 0 takes the newest.", min=0)
    ] = 0,
) -> None:
    """Write a checkpoint of a run as a Hugging Face model, for transformers and vLLM."""
    from score_ray.config.loading import input_errors
    from score_ray.reporting.run_folder import RunFolder
    from score_ray.training import checkpoint

    note = partial(typer.echo, err=True)
    run = RunFolder(folder)
    config = run.config()
    with input_errors():
        source = checkpoint.find(run.checkpoints, iteration, lambda fault: note(f"note: {fault}"))
    _refuse_place(out)

    from score_ray.training.input_record import refuse_other_model
    from score_ray.training.inputs import check_inputs
    from score_ray.training.model_source import CACHE
    from score_ray.training.roles import only_learner

    inputs = check_inputs(config, CACHE, splits=())
    refuse_other_model(run, inputs)
    with only_learner(inputs, _print_event, note) as learner:
        learner.restore(source)
        learner.export(out)
    typer.echo(f"{source} -> {out}")


def _refuse_place(out: Path) -> None:
    """Raise ConfigError if a place is no new or empty folder, or cannot be written to.

    Files of another model that are not replaced would be mixed with those of the export.
    """
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(f"{out}: {nearest} is a file; a folder to write the model to is expected")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out}: the folder is not empty; name a new one, or empty it first")
    if not writable(nearest):
        raise ConfigError(f"{out}: the folder {nearest} cannot be written to")


def _print_event(_: str, who: str, what: str, **numbers: float) -> None:
    typer.echo(f"{who}: {what}", err=True)
