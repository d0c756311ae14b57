"""`score-ray train`: train a model to correct itself."""

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from score_ray.cli.arguments import Overrides, Recipe, Runs, with_flags
from score_ray.cli.failures import tracebacks_in
from score_ray.cli.interruption import interruptible
from score_ray.cli.terminal import show_results
from score_ray.types import ConfigError

if TYPE_CHECKING:
    from score_ray.config.config import Config
    from score_ray.reporting.run_folder import RunFolder
    from score_ray.training.start import Start

RECORDS = 2**16  # bytes; the first records of a run are some of these
ADVICE = "choose another name=..., or begin anew with --fresh, which moves the folder aside"


def train(  # noqa: PLR0913  (a parameter is an option)
    config: Recipe,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    model_name: Annotated[str | None, typer.Option("--model_name", help="Sets model.path.")] = None,
    dataset_name: Annotated[
        str | None, typer.Option("--dataset_name", help="Sets task.train.")
    ] = None,
    question_column: Annotated[
        str | None, typer.Option("--question_column", help="Sets task.question_column.")
    ] = None,
    answer_column: Annotated[
        str | None, typer.Option("--answer_column", help="Sets task.answer_column.")
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Begin anew; what the run folder holds is moved to NAME.1, NAME.2 ..."
        ),
    ] = False,
) -> None:
    """Train a model to correct itself; the same command resumes a run that was cut off."""
    from score_ray.config.loading import load
    from score_ray.reporting.run_claim import refuse_foreign_folder, refuse_other_config
    from score_ray.reporting.run_folder import RunFolder

    flags = {
        "--model_name": ("model.path", model_name),
        "--dataset_name": ("task.train", dataset_name),
        "--question_column": ("task.question_column", question_column),
        "--answer_column": ("task.answer_column", answer_column),
    }
    chosen = load(config, with_flags(overrides, flags))
    folder = RunFolder(runs / chosen.name)
    refuse_foreign_folder(folder)
    advice = partial(_advice, folder)
    with folder.locked(), tracebacks_in(folder.path), interruptible(advice):
        _check_space(folder.path)
        if not fresh:
            refuse_other_config(folder, chosen, ADVICE)
        _run(_planned(chosen, folder, fresh))


def _check_space(folder: Path) -> None:
    """Raise ConfigError, which names the folder, unless the first records of a run have room.

    They are written only when all processes have started, which takes a while.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(RECORDS))
            os.fsync(file.fileno())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"{folder}: {reason}; make room there, or choose another folder with --runs"
        ) from error


def _advice(folder: "RunFolder") -> str:
    """Return what an interruption means for the run in a folder."""
    if folder.has_checkpoint:
        return "interrupted: the same command resumes from the last checkpoint"
    return "interrupted before the first checkpoint: the same command starts anew"


def _planned(config: "Config", folder: "RunFolder", fresh: bool) -> "Start":
    from score_ray.training.inputs import check_inputs
    from score_ray.training.model_source import CACHE
    from score_ray.training.start import plan_start

    return plan_start(folder, check_inputs(config, CACHE), fresh)


def _run(start: "Start") -> None:
    from score_ray.reporting.report_page import write_report
    from score_ray.reporting.reporter import Reporter, losses
    from score_ray.training.roles import all_roles
    from score_ray.training.trainer import Trainer

    folder, config = start.folder, start.inputs.config
    reporter = Reporter(
        folder, config.iterations, start.iteration, stages=config.stages, rewinds=False
    )
    with all_roles(start.inputs, reporter) as roles:
        start.claim(reporter.note)
        reporter.rewind(start.iteration)
        for fault in start.damaged:
            reporter.checkpoint_fault(fault)
        if start.saved:
            reporter.note(f"resuming from {start.saved.path}")
        Trainer(roles, config, folder).train(start.saved)
    write_report(folder)
    show_results(folder, {0, *config.stage_ends()})
    events = folder.events()
    typer.echo(f"run folder: {folder}" + (f"; {losses(events)}" if events else ""))
