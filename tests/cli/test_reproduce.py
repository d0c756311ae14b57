from pathlib import Path

import pytest
from filelock import FileLock

from score_ray.experiments.suites import runner
from score_ray.experiments.suites.runner import Failure
from tests.support.command_line import invoke, output, refusal
from tests.support.sample_suite import finish, planned


@pytest.fixture
def command(tmp_path) -> list[str]:
    """`reproduce` on a suite whose first run is finished."""
    _, runs = planned(tmp_path, jobs=3)
    finish(runs[0])
    return ["reproduce", str(tmp_path / "demo.yaml"), "--runs", str(tmp_path / "runs")]


def test_a_report_alone_starts_nothing(command, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "carry_out", None)
    assert "3 runs are missing" in output(*command, "--report-only")
    assert (tmp_path / "runs" / "demo" / "report.html").is_file()


def test_failures_are_named_after_the_report_and_exit_with_1(command, tmp_path, monkeypatch):
    jobs = []

    def fail(runs, number):
        jobs.append(number)
        return [Failure(runs[1], "error: no room", Path("seed_0.log"))]

    monkeypatch.setattr(runner, "carry_out", fail)
    found = invoke(*command)
    assert found.exit_code == 1
    assert "failed: plain/seed_0: error: no room (log: seed_0.log)" in found.stderr
    assert (tmp_path / "runs" / "demo" / "results.md").is_file()
    assert invoke(*command, "--jobs", "2").exit_code == 1
    assert jobs == [3, 2]


def test_an_interruption_says_that_the_same_command_resumes(command, monkeypatch):
    def interrupt(runs, number):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "carry_out", interrupt)
    found = invoke(*command)
    assert found.exit_code == 130
    assert "the same command resumes" in found.stderr


def test_a_suite_is_run_by_one_process_at_a_time(command, tmp_path):
    with FileLock(tmp_path / "runs" / "demo" / ".lock"):
        message = refusal(*command)
    assert "another process runs this suite" in message


def test_a_damaged_record_is_one_clear_error(command, tmp_path):
    (tmp_path / "runs/demo/score/seed_0/evals.jsonl").write_text("{\n{}\n")
    message = refusal(*command, "--report-only")
    assert "evals.jsonl, line 1: not a JSON record" in message


def test_a_number_of_jobs_is_refused_if_nothing_is_started(command):
    message = refusal(*command, "--report-only", "--jobs", "3")
    assert message == "--jobs: nothing is started with --report-only; leave it out"
