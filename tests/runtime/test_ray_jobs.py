"""Jobs on a real Ray head with a job server, and the files that are sent to it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml
from ray.job_submission import JobStatus

from score_ray.config.loading import load
from score_ray.config.train_source import TrainSource
from score_ray.runtime import ray_jobs
from score_ray.types import ConfigError
from tests.chaos import metrics
from tests.support.tiny_model import make_model

ARITHMETIC = Path("configs/arithmetic.yaml")
SMALL = (
    "rollout.problems=8", "evaluation.problems=16", "stages.0.iterations=2",
    "stages.1.iterations=2", "checkpoint.every=1",
)  # fmt: skip


def test_a_job_gets_the_code_and_the_resolved_config_and_nothing_else(tmp_path):
    stages = "stages=[{name: my stage, iterations: 2, reward: [0, 1], kl: [0.2, 0.3]}]"
    config = load(ARITHMETIC, [stages, "prompts.first=say '{question}' = ?"])
    ray_jobs.pack(tmp_path, config)
    assert {p.name for p in tmp_path.iterdir()} == {
        "score_ray", "launch.py", "pyproject.toml", "README.md", "LICENSE", "recipe.yaml",
        "overrides.txt",
    }  # fmt: skip
    assert load(tmp_path / "recipe.yaml") == config
    assert not list(tmp_path.rglob("__pycache__"))
    overrides = (tmp_path / "overrides.txt").read_text().splitlines()
    assert "torchvision; sys_platform == 'never'" in overrides


def test_paths_in_the_config_become_absolute_and_a_custom_reward_is_packed(tmp_path, monkeypatch):
    made = {"name": "math", "train": "t.jsonl@train[:5]", "test": "some/hub@test"}
    config = load(
        ARITHMETIC, [f"task={yaml.safe_dump(made, default_flow_style=True)}",
                     "grading.reward=mine.own:reward", "model.path=m"],
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl").touch()
    Path("m").mkdir()
    Path("mine").mkdir()
    Path("mine/own.py").write_text("reward = 1")
    absolute = ray_jobs.absolute(config)
    assert absolute.task.train == f"{tmp_path}/t.jsonl@train[:5]"
    assert absolute.task.test == "some/hub@test"
    assert absolute.model.path == f"{tmp_path}/m"
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("m:one@test", "~/m:one@test"):
        task = config.task.model_copy(update={"train": given})
        moved = ray_jobs.absolute(config.model_copy(update={"task": task}))
        assert moved.task.train == f"{tmp_path}/m:one@test"
    sets = (TrainSource(path="t.jsonl@train[5:]", weight=2.0), TrainSource(path="some/hub"))
    task = config.task.model_copy(update={"train": sets, "test": "t@[1].jsonl"})
    Path("t@[1].jsonl").touch()
    moved = ray_jobs.absolute(config.model_copy(update={"task": task})).task
    assert [source.path for source in moved.train_sources] == [
        f"{tmp_path}/t.jsonl@train[5:]", "some/hub"
    ]  # fmt: skip
    assert (moved.weights["some/hub"], moved.test) == (1.0, f"{tmp_path}/t@[1].jsonl")
    (tmp_path / "packed").mkdir()
    ray_jobs.pack(tmp_path / "packed", config)
    assert (tmp_path / "packed/mine/own.py").read_text() == "reward = 1"


def test_the_environment_has_the_pinned_packages_and_only_the_variables_that_are_named(
    monkeypatch,
):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("NAMED", "yes")
    env = ray_jobs.environment(Path("/shared/runs"), "gpu", ["NAMED"])
    assert env["env_vars"] == {
        "NAMED": "yes",
        "SCORE_RAY_CACHE": "/shared/cache",
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
    }
    assert env["uv"] == {
        "packages": ["${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}[gpu,smollm2]"],
        "uv_pip_install_options": [
            "--overrides", "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/overrides.txt",
        ],
    }  # fmt: skip
    assert env["config"] == {"setup_timeout_seconds": 3600}
    assert "uv" not in ray_jobs.environment(Path("/shared/runs"), "", [])
    with pytest.raises(ConfigError, match="--env ABSENT: no such variable"):
        ray_jobs.environment(Path("/shared/runs"), "", ["ABSENT"])


def test_the_usual_address_is_a_job_server_that_the_environment_names(monkeypatch):
    def usual(server: str, cluster: str) -> str:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server)
        monkeypatch.setenv("RAY_ADDRESS", cluster)
        return ray_jobs.usual_address()

    assert usual("", "") == "http://127.0.0.1:8265"
    assert usual("", "head:6379") == "http://127.0.0.1:8265"  # where runs join, no job server
    assert usual("", "https://head") == "https://head"
    assert usual("http://head:1", "https://head") == "http://head:1"


class ScriptedServer:
    """A job server where a job runs for as many of its states as are given."""

    def __init__(self, *states: JobStatus, log: tuple = (), deaf: int = 0, **info: str):
        self.states, self.log, self.deaf, self.info = list(states), list(log), deaf, info
        self.stops = 0

    def get_address(self) -> str:
        return "http://head"

    def get_job_info(self, _: str) -> SimpleNamespace:
        status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return SimpleNamespace(status=status, **self.info)

    def get_job_status(self, job: str) -> JobStatus:
        return self.get_job_info(job).status

    def stop_job(self, _: str) -> bool:
        self.stops += 1
        return self.stops > self.deaf

    async def tail_job_logs(self, _: str):
        *texts, end = self.log.pop(0)
        for text in texts:
            yield text
        if end:
            raise end


def test_a_log_continues_without_gap_or_repetition_after_its_connection_is_cut():
    shown: list[str] = []
    cut = RuntimeError("WebSocket connection closed unexpectedly with close code 1006")
    log = ("one\ntw", cut), (cut,), ("one\n", "two\n", "three\n", None)
    states = JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.SUCCEEDED
    assert ray_jobs.follow(ScriptedServer(*states, log=log), "job", shown.append) == "SUCCEEDED"
    assert "".join(shown) == "one\ntwo\nthree\n"


def test_the_reason_is_shown_for_a_job_that_never_started():
    shown: list[str] = []
    why = {"message": "no vllm", "error_type": "RUNTIME_ENV_SETUP_FAILURE"}
    server = ScriptedServer(JobStatus.FAILED, log=[(None,)], **why)
    assert ray_jobs.follow(server, "job", shown.append) == "FAILED"
    assert shown == ["no vllm\n"]


def test_a_job_that_cannot_be_stopped_yet_is_stopped_as_soon_as_it_can_be():
    states = [JobStatus.PENDING] * 2 + [JobStatus.RUNNING] * 2 + [JobStatus.STOPPED]
    server = ScriptedServer(*states, deaf=2)
    assert ray_jobs.stop(server, "job") == "STOPPED"
    assert server.stops == 3


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("Request failed with status code 404: Job job does not exist."), "no job job there"),
        (RuntimeError("status code 500: Traceback\n  line 403, in f\nOSError: full."), "head: OSError: full."),
        (OSError("Connection reset by peer"), "head: no Ray job server answers there"),
    ],
)  # fmt: skip
def test_an_error_of_the_server_becomes_one_line(error, message):
    server = ScriptedServer(JobStatus.RUNNING)
    server.get_job_info = lambda _: (_ for _ in ()).throw(error)
    with pytest.raises(ConfigError, match=message) as raised:
        ray_jobs.status(server, "job")
    assert "\n" not in str(raised.value)


@dataclass
class Head:
    """A Ray head with a job server, and how to speak to it."""

    address: str
    env: dict[str, str]

    def launch(self, *words: str, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "launch.py", *words, "--address", self.address],
            env=self.env | env, capture_output=True, text=True, timeout=200,
        )  # fmt: skip


@pytest.fixture(scope="module")
def head():
    folder = tempfile.mkdtemp(prefix="ray")
    port, server = free_port(), free_port()
    env = os.environ | {
        # A job's `python` is looked up on the node's PATH.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_worker_niceness": "0",
    }
    env.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        ["ray", "start", "--head", "--block", f"--port={port}", f"--dashboard-port={server}",
         "--dashboard-host=127.0.0.1", f"--temp-dir={folder}", "--disable-usage-stats",
         f"--ray-client-server-port={free_port()}", "--num-cpus=2",
         # Any port: another Ray of this machine may have the usual ones.
         "--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    head = Head(f"http://127.0.0.1:{server}", env)
    end = time.monotonic() + 60
    while head.launch("job", "list").returncode:
        assert time.monotonic() < end, "the job server does not answer"
    yield head
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for member in family:
        if member.is_running():
            member.kill()
    shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def submission(model: Path, runs: Path, *more: str) -> list[str]:
    return ["submit", str(ARITHMETIC), *SMALL, f"model.path={model}", *more,
            "--runs", str(runs), "--extra", "none"]  # fmt: skip


@pytest.mark.ray
def test_a_submitted_run_trains_streams_its_log_and_leaves_its_folder(head, model, tmp_path):
    runs = tmp_path / "my runs"
    # An address that is given counts, whatever the environment names.
    done = head.launch(*submission(model, runs), RAY_ADDRESS="http://127.0.0.1:1")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *lines = done.stdout.splitlines()
    job = first.split()[1].rstrip(",")
    assert first == f"job {job}, run folder {runs}/arithmetic"
    assert sum("[4/4] stage_2" in line for line in lines) == 1
    assert lines[-1] == f"job {job}: SUCCEEDED"
    assert [r["iteration"] for r in metrics(runs / "arithmetic")] == [0, 1, 2, 3]
    assert head.launch("job", "status", job).stdout == "SUCCEEDED\n"
    assert f"{job}  arithmetic  SUCCEEDED" in head.launch("job", "list").stdout


@pytest.mark.ray
def test_a_stopped_job_resumes_when_it_is_submitted_again(head, model, tmp_path):
    long = "stages.1.iterations=500"
    begun = head.launch(*submission(model, tmp_path, long), "--no-wait")
    job = begun.stdout.split()[1].rstrip(",")
    end = time.monotonic() + 120
    while len(metrics(tmp_path / "arithmetic")) < 3:
        assert time.monotonic() < end
        time.sleep(0.2)
    second = head.launch(*submission(model, tmp_path, long))
    assert second.returncode == 1
    assert "another process is running in this run folder" in second.stdout
    assert head.launch("job", "stop", job).stdout == f"job {job}: STOPPED\n"
    log = head.launch("job", "logs", job).stdout
    assert "interrupted: the same command resumes from the last checkpoint" in log
    stopped = len(metrics(tmp_path / "arithmetic"))
    again = subprocess.Popen(
        [sys.executable, "launch.py", *submission(model, tmp_path, long),
         "--address", head.address],
        env=head.env, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while len(metrics(tmp_path / "arithmetic")) <= stopped:
        assert again.poll() is None
        time.sleep(0.2)
    again.send_signal(signal.SIGINT)  # leaves the job running
    out, _ = again.communicate(timeout=60)
    assert again.returncode == 130
    job = out.split()[1].rstrip(",")
    assert head.launch("job", "status", job).stdout == "RUNNING\n"
    head.launch("job", "stop", job)
    assert "resuming from" in head.launch("job", "logs", job).stdout


@pytest.mark.ray
@pytest.mark.parametrize(
    ("words", "env", "message"),
    [
        (["job", "status", "raysubmit_none"], {}, "no job raysubmit_none there"),
        (["job", "list"], {"RAY_AUTH_TOKEN": "0" * 64}, "the cluster refuses access; set RAY_AUTH"),
        (["submit", str(ARITHMETIC), "rollout.sample=3"], {}, "rollout.sample: unknown key"),
    ],
)
def test_a_refused_command_prints_one_clear_line(words, env, message, head):
    done = head.launch(*words, **env)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_without_a_job_server_is_one_clear_line():
    with pytest.raises(ConfigError, match="http://127.0.0.1:1: no Ray job server answers there"):
        ray_jobs.connect("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="127.0.0.1:8265: not of the form http://host:8265"):
        ray_jobs.connect("127.0.0.1:8265")
