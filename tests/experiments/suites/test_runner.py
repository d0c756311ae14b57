"""Suites are run with a stand-in for a run, and once with real runs."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml

from score_ray.experiments.suites import runner
from score_ray.experiments.suites.runner import carry_out
from score_ray.reporting.json_lines import read_jsonl
from tests.support.sample_suite import finish, planned
from tests.support.tiny_model import make_model

# It leaves the files of a finished run, unless the variant's name asks for something else.
STAND_IN = """
import pathlib, signal, sys, time
sys.path[:0] = {path!r}
from tests.support.sample_suite import finish
from score_ray.config.loading import load
from score_ray.experiments.suites.suite import SuiteRun
from score_ray.reporting.run_folder import RunFolder

recipe, *overrides, _, folder = sys.argv[2:]
config, folder = load(pathlib.Path(recipe), overrides), pathlib.Path(folder)
if folder.name == "bad":
    print("error: there is no\\nsuch model")
    print("error: there is no model", file=sys.stderr)
    sys.exit("goodbye")
if folder.name == "empty":
    sys.exit(0)
if folder.name == "stuck":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if folder.name in ("stuck", "long"):
    print("waiting", flush=True)
    time.sleep(600)
finish(SuiteRun(folder.name, config, RunFolder(folder / config.name), pathlib.Path(recipe), ()))
"""


@pytest.fixture(autouse=True)
def stand_in(request, tmp_path, monkeypatch):
    """Replace the command of a run, except in the test with real runs."""
    if "ray" not in request.keywords:
        script = tmp_path / "launch.py"
        script.write_text(STAND_IN.format(path=[os.getcwd()]))
        monkeypatch.setattr(runner, "LAUNCH", script)
        monkeypatch.setattr(runner, "POLL_SECONDS", 0.02)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)


def variants(*names: str) -> dict:
    return {name: {"seeds": [0]} for name in names}


@pytest.mark.slow
def test_finished_runs_are_skipped_and_the_others_run_in_order(tmp_path, capsys):
    _, runs = planned(tmp_path)
    finish(runs[0])
    assert carry_out(runs, 1) == []
    times = read_jsonl(tmp_path / "runs" / "demo" / "times.jsonl")
    assert [r["run"] for r in times] == ["plain/seed_0", "score/seed_1", "plain/seed_1"]
    assert [r["exit"] for r in times] == [0, 0, 0]
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("plain/seed_0: started, 1 of 4 runs and 2 of 8 iterations done (log: ")
    assert last.startswith("plain/seed_1: finished after ")
    assert last.endswith("4 of 4 runs and 8 of 8 iterations done")


@pytest.mark.slow
def test_a_failing_run_stops_no_other_and_is_named_with_its_last_error_and_its_log(tmp_path):
    _, runs = planned(tmp_path, variants=variants("bad", "empty", "good"))
    bad, empty = carry_out(runs, 2)
    assert (str(bad.run), bad.reason) == ("bad/seed_0", "error: there is no model")
    assert bad.log == tmp_path / "runs" / "demo" / "bad" / "seed_0.log"
    assert "goodbye" in bad.log.read_text()
    # An exit code of 0 alone finishes nothing.
    assert (str(empty.run), empty.reason) == ("empty/seed_0", "exit code 0")
    assert runs[2].folder.model.is_dir()


@pytest.mark.slow
def test_an_error_that_an_earlier_process_logged_is_not_the_reason_of_a_failure(tmp_path):
    _, runs = planned(tmp_path, variants=variants("empty"))
    folder = runs[0].folder.path
    folder.parent.mkdir(parents=True)
    folder.with_name("seed_0.log").write_text("error: of yesterday\n")
    (failure,) = carry_out(runs, 1)
    assert failure.reason == "exit code 0"
    assert failure.log.read_text() == "error: of yesterday\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["long", "stuck"])
def test_an_interruption_ends_every_run_and_is_raised(name, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "STOP_SECONDS", 1.0)
    _, runs = planned(tmp_path, variants={name: {"seeds": [0, 1]}})
    logs = [run.folder.path.with_suffix(".log") for run in runs]

    def interrupt() -> None:
        while not all(log.exists() and log.read_text() for log in logs):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    others = set(psutil.Process().children())  # of tests before
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            carry_out(runs, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    assert set(psutil.Process().children()) <= others
    times = read_jsonl(tmp_path / "runs" / "demo" / "times.jsonl")
    how = signal.SIGTERM if name == "long" else signal.SIGKILL
    assert [r["exit"] for r in times] == [-how, -how]


def test_a_terminal_gets_a_bar_with_the_time_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    _, runs = planned(tmp_path)
    progress = runner.SuiteProgress(runs, 4)
    finish(runs[0])
    monkeypatch.setattr(progress, "_clock", time.monotonic() - 100)
    progress.update(runs[1:2])
    progress.close()
    shown = capsys.readouterr().err
    # Two of eight iterations took 100 s.
    assert "0 of 4 runs and 2 of 8 iterations done, 5 min left; plain/seed_0" in shown


TINY = ["rollout.problems=8", "evaluation.problems=16", "checkpoint.every=1"]


def real_suite(folder: Path) -> list[str]:
    """Return the command for a suite in folder/tiny: a base model, and a run of 20 iterations."""
    stages = "stages=[{name: only, iterations: 20, reward: [1, 1], bonus: 10, kl: [0.3, 0.3]}]"
    suite = {
        "name": "tiny",
        "config": os.path.abspath("configs/arithmetic.yaml"),
        "overrides": [f"model.path={make_model(folder / 'model')}", *TINY],
        "seeds": [0],
        "variants": {
            "base": {"overrides": ["stages=[]"]},
            "score": {"label": "SCoRe", "overrides": [stages]},
        },
        "claims": [{"better": "score", "than": "base", "metric": "delta"}],
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    return [sys.executable, "launch.py", "reproduce", str(folder / "tiny.yaml"),
            "--runs", str(folder)]  # fmt: skip


def interrupted(command: list[str], checkpoints: Path) -> None:
    """Interrupt a suite once a run has a checkpoint, and check that no process stays."""
    # A background job of a shell ignores SIGINT, and its children would inherit that.
    process = subprocess.Popen(
        command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    while not list(checkpoints.glob("iteration_*")) and process.poll() is None:
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert psutil.wait_procs(family, timeout=20)[1] == []


@pytest.mark.ray
def test_an_interrupted_suite_resumes_and_reports_every_variant(tmp_path):
    command, folder = real_suite(tmp_path), tmp_path / "tiny"
    interrupted(command, folder / "score" / "seed_0" / "checkpoints")
    assert not (folder / "score" / "seed_0" / "model").exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True)
    assert "base/seed_0: started" not in again.stderr
    assert "score/seed_0: finished" in again.stderr
    assert "resuming from" in (folder / "score" / "seed_0.log").read_text()
    text, page = (folder / "results.md").read_text(), (folder / "report.html").read_text()
    assert "2 of 2 runs are finished" in text
    for label in ("base", "SCoRe"):
        assert f"\n| {label} | " in text
        assert f"<td>{label}</td>" in page
    # 20 iterations of 8 problems, 4 samples and 2 attempts.
    assert "| SCoRe | 20 | 1,280 |" in text
