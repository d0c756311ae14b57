"""`score-ray report`: write a run's plot and page again."""

import typer

from score_ray.cli.arguments import FolderOfRun
from score_ray.types import ConfigError


def report(folder: FolderOfRun) -> None:
    """Write accuracy.png and report.html again from the records of a run folder."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such run folder")

    from score_ray.config.loading import input_errors
    from score_ray.reporting.report_page import write_report
    from score_ray.reporting.run_folder import RunFolder

    run = RunFolder(folder)
    with input_errors():
        write_report(run)
    typer.echo(run.report)
