"""`score-ray report`: draw a run's plot and page again."""

import typer

from score_ray.cli.arguments import FolderOfRun


def report(folder: FolderOfRun) -> None:
    """Write accuracy.png and report.html again from the records of a run folder."""
    from score_ray.config.config import input_errors
    from score_ray.reporting.html import write_report

    with input_errors():
        write_report(folder)
    typer.echo(f"{folder / 'report.html'}")
