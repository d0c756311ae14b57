"""`score-ray job`: follow and end the jobs of a Ray cluster."""

from functools import partial
from typing import Annotated

import typer

from score_ray.cli.interruption import interruptible


def usual_address() -> str:
    """Return the job server that the environment names, or else the one of this machine."""
    from score_ray.runtime import ray_jobs

    return ray_jobs.usual_address()


job_app = typer.Typer(no_args_is_help=True, help="Follow and end jobs that submit has started.")
Job = Annotated[str, typer.Argument(help="A job's id.")]
Address = Annotated[
    str,
    typer.Option(
        help="The job server's address.",
        default_factory=usual_address,
        show_default="RAY_API_SERVER_ADDRESS, or this machine",
    ),
]


@job_app.command()
def logs(job: Job, address: Address) -> None:
    """Show a job's log until it ends; exit 1 unless it succeeded. Ctrl-C leaves it running."""
    from score_ray.runtime import ray_jobs

    with interruptible(f"the job goes on; `score-ray job stop {job}` ends it"):
        status = ray_jobs.follow(ray_jobs.connect(address), job, partial(typer.echo, nl=False))
    typer.echo(f"job {job}: {status}")
    if status != "SUCCEEDED":
        raise typer.Exit(1)


@job_app.command("status")
def show_status(job: Job, address: Address) -> None:
    """Print a job's status."""
    from score_ray.runtime import ray_jobs

    typer.echo(ray_jobs.status(ray_jobs.connect(address), job))


@job_app.command()
def stop(job: Job, address: Address) -> None:
    """End a job as Ctrl-C ends a run: the same submit resumes from its last checkpoint."""
    from score_ray.runtime import ray_jobs

    typer.echo(f"job {job}: {ray_jobs.stop(ray_jobs.connect(address), job)}")


@job_app.command("list")
def list_jobs(address: Address) -> None:
    """List the jobs of a cluster, the newest first."""
    from score_ray.runtime import ray_jobs

    for job in ray_jobs.listing(ray_jobs.connect(address)):
        typer.echo("  ".join(job))
