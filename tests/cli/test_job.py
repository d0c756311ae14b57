import pytest

from score_ray.runtime import ray_jobs
from tests.support.command_line import invoke, output, refusal

SERVER = "http://head:8265"


@pytest.fixture(autouse=True)
def connect(monkeypatch):
    """The connection to a job server is its address."""
    monkeypatch.setattr(ray_jobs, "connect", lambda address: address)


def follow_to(monkeypatch, status: str) -> None:
    def follow(client, job, write):
        write(f"log of {job} at {client}\n")
        return status

    monkeypatch.setattr(ray_jobs, "follow", follow)


def test_the_log_ends_with_the_status_of_the_job(monkeypatch):
    follow_to(monkeypatch, "SUCCEEDED")
    shown = output("job", "logs", "j1", "--address", SERVER)
    assert shown == f"log of j1 at {SERVER}\njob j1: SUCCEEDED\n"


def test_the_log_of_a_job_that_did_not_succeed_exits_with_1(monkeypatch):
    follow_to(monkeypatch, "STOPPED")
    result = invoke("job", "logs", "j1", "--address", SERVER)
    assert result.exit_code == 1
    assert result.stdout.endswith("job j1: STOPPED\n")


def test_ctrl_c_leaves_the_job_running_and_says_how_to_stop_it(monkeypatch):
    def follow(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ray_jobs, "follow", follow)
    result = invoke("job", "logs", "j1", "--address", SERVER)
    assert result.exit_code == 130
    assert result.stderr == "the job goes on; `score-ray job stop j1` ends it\n"


def test_the_environment_names_the_job_server(monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", SERVER)
    monkeypatch.setattr(ray_jobs, "status", lambda client, job: f"{job} at {client}")
    assert output("job", "status", "j1") == f"j1 at {SERVER}\n"


def test_jobs_are_listed_one_per_line(monkeypatch):
    monkeypatch.setattr(ray_jobs, "listing", lambda client: [("j2", "run", "RUNNING")])
    assert output("job", "list") == "j2  run  RUNNING\n"


def test_the_last_status_of_a_stopped_job_is_shown(monkeypatch):
    monkeypatch.setattr(ray_jobs, "stop", lambda client, job: "STOPPED")
    assert output("job", "stop", "j1") == "job j1: STOPPED\n"


def test_an_address_of_another_form_is_refused(monkeypatch):
    monkeypatch.undo()
    message = "--address head:8265: not of the form http://host:8265"
    assert refusal("job", "list", "--address", "head:8265") == message
