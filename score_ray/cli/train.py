"""`score-ray train`: train a model to correct itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from score_ray.cli.arguments import Overrides, Recipe, Runs
from score_ray.cli.interruption import interruptible
from score_ray.cli.terminal import show_results
from score_ray.types import ConfigError

if TYPE_CHECKING:
    from filelock import FileLock

    from score_ray.training.inputs import Inputs


def train(
    config: Recipe,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    model_name: Annotated[str, typer.Option("--model_name", help="Sets model.path.")] = "",
    dataset_name: Annotated[str, typer.Option("--dataset_name", help="Sets task.train.")] = "",
    question_column: Annotated[
        str, typer.Option("--question_column", help="Sets task.question_column.")
    ] = "",
    answer_column: Annotated[
        str, typer.Option("--answer_column", help="Sets task.answer_column.")
    ] = "",
) -> None:
    """Train a model to correct itself; the same command resumes a run that was cut off."""
    from score_ray.config.config import dump, load, refuse_other

    flags = {
        "model.path": model_name,
        "task.train": dataset_name,
        "task.question_column": question_column,
        "task.answer_column": answer_column,
    }
    chosen = load(config, [*(overrides or []), *(f"{k}={v}" for k, v in flags.items() if v)])
    folder = runs / chosen.name
    with _locked(folder):
        refuse_other(folder, chosen, "choose another name=... or remove the folder")
        inputs = _checked(chosen)
        # The config is saved only now: while the inputs have faults, a mended config must not
        # be refused for differing from a saved one.
        (folder / "config.yaml").write_text(dump(chosen))
        with interruptible("interrupted: the same command resumes from the last checkpoint"):
            _run(inputs, folder)


def _checked(config) -> "Inputs":
    from score_ray.training.inputs import check_inputs
    from score_ray.training.model_source import CACHE

    return check_inputs(config, CACHE)


def _run(inputs: "Inputs", folder: Path) -> None:
    from score_ray.reporting.html import write_report
    from score_ray.reporting.reporter import Reporter, losses
    from score_ray.reporting.run_folder import read_jsonl
    from score_ray.training import checkpoint, trainer
    from score_ray.training.roles import all_roles

    config, checkpoints = inputs.config, folder / "checkpoints"
    damaged: list[str] = []
    saved = checkpoint.newest(checkpoints, damaged.append)
    start = saved[1]["iteration"] if saved else 0
    reporter = Reporter(folder, config.iterations, start, stages=config.stages)
    for fault in damaged:
        reporter.checkpoint_fault(fault)
    with all_roles(inputs, reporter) as roles:
        if saved:
            reporter.note(f"resuming from {saved[0]}")
        trainer.train(roles, config, folder, saved)
    write_report(folder)
    show_results(folder, {0, *config.stage_ends()})
    events = read_jsonl(folder / "events.jsonl")
    typer.echo(f"run folder: {folder}" + (f"; {losses(events)}" if events else ""))


def _locked(folder: Path) -> "FileLock":
    """Lock a run folder; raise ConfigError if another process holds it."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"{folder}: another process is running in this run folder") from None
    return lock
