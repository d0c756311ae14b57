"""`score-ray train`: train a model to correct itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from score_ray.cli.arguments import Overrides, Recipe, Runs, with_flags
from score_ray.cli.interruption import interruptible
from score_ray.cli.terminal import show_results

if TYPE_CHECKING:
    from score_ray.config.config import Config
    from score_ray.reporting.run_folder import RunFolder
    from score_ray.training.inputs import Inputs


def train(
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
) -> None:
    """Train a model to correct itself; the same command resumes a run that was cut off."""
    from score_ray.config.loading import load
    from score_ray.reporting.run_folder import RunFolder

    flags = {
        "--model_name": ("model.path", model_name),
        "--dataset_name": ("task.train", dataset_name),
        "--question_column": ("task.question_column", question_column),
        "--answer_column": ("task.answer_column", answer_column),
    }
    chosen = load(config, with_flags(overrides, flags))
    folder = RunFolder(runs / chosen.name)
    with folder.locked():
        folder.refuse_other_config(chosen, "choose another name=... or remove the folder")
        inputs = _checked(chosen)
        # The config is saved only now: while the inputs have faults, a mended config must not
        # be refused for differing from a saved one.
        folder.write_config(chosen)
        with interruptible("interrupted: the same command resumes from the last checkpoint"):
            _run(inputs, folder)


def _checked(config: "Config") -> "Inputs":
    from score_ray.training.inputs import check_inputs
    from score_ray.training.model_source import CACHE

    return check_inputs(config, CACHE)


def _run(inputs: "Inputs", folder: "RunFolder") -> None:
    from score_ray.reporting.report_page import write_report
    from score_ray.reporting.reporter import Reporter, losses
    from score_ray.training import checkpoint
    from score_ray.training.roles import all_roles
    from score_ray.training.trainer import Trainer

    config = inputs.config
    damaged: list[str] = []
    saved = checkpoint.newest(folder.checkpoints, damaged.append)
    start = saved.progress.iteration if saved else 0
    reporter = Reporter(folder, config.iterations, start, stages=config.stages)
    for fault in damaged:
        reporter.checkpoint_fault(fault)
    with all_roles(inputs, reporter) as roles:
        if saved:
            reporter.note(f"resuming from {saved.path}")
        Trainer(roles, config, folder).train(saved)
    write_report(folder)
    show_results(folder, {0, *config.stage_ends()})
    events = folder.events()
    typer.echo(f"run folder: {folder}" + (f"; {losses(events)}" if events else ""))
