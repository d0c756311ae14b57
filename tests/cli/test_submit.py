import sys

import pytest

from score_ray.runtime import ray_jobs
from tests.support.command_line import invoke, output, refusal

COMMAND = ("submit", "configs/arithmetic.yaml", "--address", "http://head:8265")


@pytest.fixture
def environments(monkeypatch) -> list[dict]:
    """The environments that jobs are submitted with, to a server that is not there."""
    submitted = []

    def submit(client, config, runs, environment):
        submitted.append(environment)
        return "j1"

    monkeypatch.setattr(ray_jobs, "connect", lambda address: address)
    monkeypatch.setattr(ray_jobs, "submit", submit)
    monkeypatch.setattr(ray_jobs, "follow", lambda client, job, write: "SUCCEEDED")
    return submitted


def test_an_unknown_extra_is_refused():
    message = "--extra: 'tpu' is not one of gpu, cpu, none"
    assert refusal(*COMMAND, "--extra", "tpu") == message


def test_a_job_is_named_with_its_run_folder_and_followed(environments, tmp_path):
    job, commands, end = output(*COMMAND, "--runs", tmp_path).splitlines()
    assert job == f"job j1, run folder {tmp_path / 'arithmetic'}"
    assert commands.startswith("`score-ray job logs|status|stop j1 --address http://head:8265`")
    assert end == "job j1: SUCCEEDED"


def test_without_wait_the_job_is_not_followed(environments):
    assert "SUCCEEDED" not in output(*COMMAND, "--no-wait")


def test_named_packages_and_variables_are_sent_with_the_job(environments, monkeypatch):
    monkeypatch.setenv("TOKEN", "secret")
    output(*COMMAND, "--extra", "none", "--env", "TOKEN")
    output(*COMMAND, "--extra", "cpu")
    without, with_packages = environments
    assert without["env_vars"]["TOKEN"] == "secret"
    assert "uv" not in without
    assert "[cpu," in with_packages["uv"]["packages"][0]


def test_the_files_of_a_reward_that_travel_are_named(environments, tmp_path, monkeypatch):
    (tmp_path / "my_reward.py").write_text("import my_helper\ndef score(p, t): return 1.0")
    (tmp_path / "my_helper.py").write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    shown = output(*COMMAND, "--no-wait", "grading.reward=my_reward:score")
    assert shown.startswith("with the job, for grading.reward: my_reward.py, my_helper.py\n")


def test_a_reward_that_does_not_travel_is_announced(environments):
    shown = invoke(*COMMAND, "--no-wait", "grading.reward=not_here:score").stderr
    assert "note: grading.reward: not_here is no file of yours here" in shown
