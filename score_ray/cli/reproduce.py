"""`score-ray reproduce`: run a suite of variants and seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from score_ray.cli.arguments import Runs, refuse_options
from score_ray.cli.interruption import interruptible

if TYPE_CHECKING:
    from score_ray.experiments.suites.runner import Failure
    from score_ray.experiments.suites.suite import SuiteRun


def reproduce(
    context: typer.Context,
    suite: Annotated[Path, typer.Argument(help="A suite, such as configs/suites/smoke.yaml.")],
    runs: Runs = Path("runs"),
    jobs: Annotated[
        int | None,
        typer.Option(help="Runs side by side.", show_default="the suite's", min=1),
    ] = None,
    report_only: Annotated[
        bool, typer.Option(help="Report on the finished runs; start none.")
    ] = False,
) -> None:
    """Run every variant of a suite with every seed; the same command resumes a suite."""
    from score_ray.config.loading import input_errors
    from score_ray.experiments.suites.suite import load_suite, runs_of

    if report_only:
        refuse_options(context, ["jobs"], "nothing is started with --report-only")
    chosen = load_suite(suite)
    with input_errors():
        planned, folder = runs_of(chosen, runs), runs / chosen.name
    failures = []
    if not report_only:
        with interruptible("interrupted: the same command resumes with the unfinished runs"):
            failures = _carry_out(planned, jobs or chosen.jobs, folder)

    from score_ray.experiments.suites.report import write_suite_report

    with input_errors():
        missing = write_suite_report(chosen, planned, folder)
    typer.echo(f"{folder / 'report.html'} and {folder / 'results.md'}; {missing} runs are missing")
    for failure in failures:
        typer.echo(f"failed: {failure}", err=True)
    if failures:
        raise typer.Exit(1)


def _carry_out(planned: "list[SuiteRun]", jobs: int, folder: Path) -> "list[Failure]":
    from score_ray.experiments.suites import runner
    from score_ray.reporting.folder_lock import locked

    with locked(folder, "another process runs this suite"):
        return runner.carry_out(planned, jobs)
