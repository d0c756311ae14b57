from pathlib import Path

import pytest
import typer
from filelock import FileLock
from typer.testing import CliRunner

from score_ray.cli import reproduce as suite_commands
from score_ray.config.config import ConfigError
from score_ray.experiments.suites.runner import Failure
from tests.support.sample_suite import finish, planned


@pytest.fixture
def invoke(tmp_path):
    """`reproduce` on a suite whose first run is finished."""
    _, runs = planned(tmp_path, jobs=3)
    finish(runs[0])
    app = typer.Typer()
    app.command()(suite_commands.reproduce)
    arguments = [str(tmp_path / "demo.yaml"), "--runs", str(tmp_path / "runs")]
    return lambda *more: CliRunner().invoke(app, [*arguments, *more])


def test_a_report_alone_starts_nothing(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(suite_commands, "carry_out", None)
    found = invoke("--report-only")
    assert found.exit_code == 0
    assert "3 runs are missing" in found.stdout
    assert (tmp_path / "runs" / "demo" / "report.html").is_file()


def test_failures_are_named_after_the_report_and_exit_with_1(invoke, tmp_path, monkeypatch):
    jobs = []

    def fail(runs, number):
        jobs.append(number)
        return [Failure(runs[1], "error: no room", Path("seed_0.log"))]

    monkeypatch.setattr(suite_commands, "carry_out", fail)
    found = invoke()
    assert found.exit_code == 1
    assert "failed: plain/seed_0: error: no room (log: seed_0.log)" in found.stderr
    assert (tmp_path / "runs" / "demo" / "results.md").is_file()
    assert invoke("--jobs", "2").exit_code == 1
    assert jobs == [3, 2]


def test_an_interruption_says_that_the_same_command_goes_on(invoke, monkeypatch):
    def interrupt(runs, number):
        raise KeyboardInterrupt

    monkeypatch.setattr(suite_commands, "carry_out", interrupt)
    found = invoke()
    assert found.exit_code == 130
    assert "the same command goes on" in found.stderr


def test_a_suite_is_carried_out_by_one_process_at_a_time(invoke, tmp_path):
    with FileLock(tmp_path / "runs" / "demo" / ".lock"):
        found = invoke()
    assert isinstance(found.exception, ConfigError)
    assert "another process carries this suite out" in str(found.exception)


def test_a_damaged_record_is_one_clear_error(invoke, tmp_path):
    (tmp_path / "runs/demo/score/seed_0/evals.jsonl").write_text("{\n{}\n")
    found = invoke("--report-only")
    assert isinstance(found.exception, ConfigError)
    assert "evals.jsonl, line 1: not a JSON record" in str(found.exception)
