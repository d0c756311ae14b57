"""Every command by its name.

A command's file imports only typer and this room at its top. Other libraries, such as torch, Ray
or matplotlib, are imported where they are used, so that help and errors appear at once.
"""

import typer

from score_ray.cli.bench import bench_app
from score_ray.cli.doctor import doctor
from score_ray.cli.evaluate import evaluate
from score_ray.cli.export import export
from score_ray.cli.figures import figures
from score_ray.cli.grade import grade
from score_ray.cli.job import job_app
from score_ray.cli.plan import plan
from score_ray.cli.report import report
from score_ray.cli.reproduce import reproduce
from score_ray.cli.submit import submit
from score_ray.cli.train import train
from score_ray.cli.version import Version

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(train)
app.command("eval")(evaluate)
app.command()(export)
app.command()(report)
app.command()(grade)
app.command()(figures)
app.command()(reproduce)
app.command()(plan)
app.add_typer(bench_app, name="bench")
app.command()(doctor)
app.command()(submit)
app.add_typer(job_app, name="job")


@app.callback()
def score_ray(version: Version = False) -> None:
    """Train language models to correct their own answers (SCoRe, arXiv 2409.12917)."""
