"""The command line of jobs: `launch.py submit`, and `launch.py job logs|status|stop|list`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from score_ray.config.config import ConfigError, load
from score_ray.runtime import ray_jobs

INTERRUPTED = 130

job_app = typer.Typer(no_args_is_help=True, help="Follow and end jobs that submit has started.")
Job = Annotated[str, typer.Argument(help="a job's id")]
Address = Annotated[str, typer.Option(help="of the job server; RAY_API_SERVER_ADDRESS")]
Variables = Annotated[
    list[str] | None,
    typer.Option(help="name of a variable to pass on, which job info shows; repeatable"),
]
HERE = ray_jobs.usual_address()


def submit(
    config: Annotated[Path, typer.Argument(help="for instance configs/arithmetic.yaml")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...")] = None,
    address: Address = HERE,
    runs: Annotated[Path, typer.Option(help="where run folders are kept")] = Path("runs"),
    extra: Annotated[str, typer.Option(help="packages to install: gpu, cpu or none")] = "gpu",
    env: Variables = None,
    wait: Annotated[bool, typer.Option(help="show the log until the job ends")] = True,
) -> None:
    """Train as a job of a Ray cluster that shares the folder of --runs with this machine."""
    if extra not in ("gpu", "cpu", "none"):
        raise ConfigError(f"--extra {extra}: gpu, cpu or none")
    chosen = load(config, overrides or [])
    environment = ray_jobs.environment(runs, "" if extra == "none" else extra, env or [])
    job = ray_jobs.submit(ray_jobs.connect(address), chosen, runs, environment)
    typer.echo(f"job {job}, run folder {runs.absolute() / chosen.name}")
    typer.echo(f"`launch.py job logs|status|stop {job} --address {address}` follows or ends it")
    if wait:
        logs(job, address)


@job_app.command()
def logs(job: Job, address: Address = HERE) -> None:
    """Show a job's log until it ends; exit 1 unless it succeeded. Ctrl-C leaves it running."""
    try:
        ended = ray_jobs.follow(ray_jobs.connect(address), job, partial(typer.echo, nl=False))
    except KeyboardInterrupt:
        typer.echo(f"the job goes on; `launch.py job stop {job}` ends it", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(f"job {job}: {ended}")
    if ended != "SUCCEEDED":
        raise typer.Exit(1)


@job_app.command()
def status(job: Job, address: Address = HERE) -> None:
    """Say how a job is doing."""
    typer.echo(ray_jobs.status(ray_jobs.connect(address), job))


@job_app.command()
def stop(job: Job, address: Address = HERE) -> None:
    """End a job as Ctrl-C ends a run: the same submit goes on from its last checkpoint."""
    typer.echo(f"job {job}: {ray_jobs.stop(ray_jobs.connect(address), job)}")


@job_app.command("list")
def list_jobs(address: Address = HERE) -> None:
    """Name the jobs of a cluster, the newest first."""
    for found in ray_jobs.listing(ray_jobs.connect(address)):
        typer.echo("  ".join(found))
