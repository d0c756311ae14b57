"""The command line of suites: `launch.py reproduce SUITE`."""

from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from score_ray.cli.jobs import INTERRUPTED
from score_ray.config.config import ConfigError
from score_ray.experiments.suites.report import write_suite_report
from score_ray.experiments.suites.runner import Failure, carry_out
from score_ray.experiments.suites.suite import SuiteRun, load_suite, runs_of
from score_ray.training.inputs import input_errors


def reproduce(
    suite: Annotated[Path, typer.Argument(help="for instance configs/suites/smoke.yaml")],
    runs: Annotated[Path, typer.Option(help="where run folders are kept")] = Path("runs"),
    jobs: Annotated[
        int | None, typer.Option(help="runs side by side; default: the suite's", min=1)
    ] = None,
    report_only: Annotated[bool, typer.Option(help="of what is finished; start nothing")] = False,
) -> None:
    """Run every variant of a suite with every seed; the same command goes on where it was cut."""
    chosen = load_suite(suite)
    with input_errors():
        planned, folder = runs_of(chosen, runs), runs / chosen.name
    try:
        failures = [] if report_only else _carry_out(planned, jobs or chosen.jobs, folder)
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command goes on with what is not finished", err=True)
        raise typer.Exit(INTERRUPTED) from None
    with input_errors():
        missing = write_suite_report(chosen, planned, folder)
    typer.echo(f"{folder / 'report.html'} and {folder / 'results.md'}; {missing} runs are missing")
    for failure in failures:
        typer.echo(f"failed: {failure}", err=True)
    if failures:
        raise typer.Exit(1)


def _carry_out(planned: list[SuiteRun], jobs: int, folder: Path) -> list[Failure]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            return carry_out(planned, jobs)
    except Timeout:
        raise ConfigError(f"{folder}: another process carries this suite out") from None
