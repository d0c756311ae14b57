"""`score-ray submit`: train as a job of a Ray cluster."""

from pathlib import Path
from typing import Annotated

import typer

from score_ray.cli.arguments import Overrides, Recipe, Runs
from score_ray.cli.job import Address, logs
from score_ray.types import ConfigError

SHOWN = 10  # files that are named
EXTRAS = ("gpu", "cpu", "none")


def submit(
    config: Recipe,
    address: Address,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    extra: Annotated[str, typer.Option(help="Packages to install: gpu, cpu or none.")] = "gpu",
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="The name of an environment variable to pass on; its value is visible in the "
            "job's description. Repeatable."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Show the log until the job ends.")] = True,
) -> None:
    """Train as a job of a Ray cluster that shares the folder of --runs with this machine."""
    from score_ray.config.loading import load
    from score_ray.runtime import ray_jobs

    if extra not in EXTRAS:
        raise ConfigError(f"--extra: {extra!r} is not one of {', '.join(EXTRAS)}")
    chosen = load(config, overrides or [])
    _announce(chosen.grading.reward)
    environment = ray_jobs.environment(runs, "" if extra == "none" else extra, env or [])
    job = ray_jobs.submit(ray_jobs.connect(address), chosen, runs, environment)
    typer.echo(f"job {job}, run folder {runs.absolute() / chosen.name}")
    typer.echo(f"`score-ray job logs|status|stop {job} --address {address}` follows or ends it")
    if wait:
        logs(job, address)


def _announce(reward: str) -> None:
    """Say which files of a reward of one's own travel with the job, and if none do."""
    from score_ray.runtime.reward_files import OURS, reward_files

    module = reward.partition(":")[0]
    if not reward or module.partition(".")[0] in OURS:
        return
    files = [str(file) for file in reward_files(reward)]
    if not files:
        note = f"note: grading.reward: {module} is no file of yours here; the job must have it"
        typer.echo(f"{note} installed", err=True)
        return
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    typer.echo(f"with the job, for grading.reward: {', '.join(files[:SHOWN])}{more}")
