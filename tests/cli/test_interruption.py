"""Ctrl-C and SIGTERM end a command at any moment: exit code 130, no traceback, nothing left."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.shared_ray import without_shared_ray
from tests.support.tiny_model import make_model

# The command is replaced by `body`, which says when it can be interrupted.
PROGRAM = """
import sys, time
from score_ray.cli import commands, interruption, main
def ready():
    print("ready", flush=True)
def wait():
    # A signal that comes just before a long sleep would be seen only after it.
    for _ in range(600):
        time.sleep(0.1)
def command():
    {body}
commands.app = command
main.main()
"""
SLEEP = "ready(); wait()"
DELETED = """
    class Slow:
        def __del__(self):
            ready()
            time.sleep(1)
    Slow()
    wait()
"""
CONVERTED = """
    try:
        ready()
        wait()
    except KeyboardInterrupt as error:
        raise ImportError("numpy cannot be imported") from error
"""
SWALLOWED = """
    try:
        ready()
        wait()
    except BaseException:
        pass
    wait()
"""
HANGING = """
    interruption.PATIENCE = 0.5
    try:
        ready()
        wait()
    finally:
        wait()
"""
ADVISED = """
    with interruption.interruptible("the run goes on tomorrow"):
        ready()
        wait()
"""
WITH_CHILD = """
    import subprocess
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    wait()
"""


def start(*words: str, **more: object) -> subprocess.Popen[str]:
    # A test run in the background of a shell ignores SIGINT, and would hand that down.
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=without_shared_ray(), **more,
    )  # fmt: skip


def started(body: str) -> tuple[subprocess.Popen[str], str]:
    """Start a program with this command; return it and the line that it prints when ready."""
    process = start(sys.executable, "-c", PROGRAM.format(body=body.strip()))
    assert process.stdout
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str], *signals: signal.Signals, pause: float = 0.0) -> str:
    """Send signals, and return stderr of a process that must end with 130."""
    for each in signals:
        process.send_signal(each)
        time.sleep(pause)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    return errors


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (SLEEP, "interrupted\n"),
        (DELETED, "interrupted\n"),  # Python drops what is raised while an object is deleted
        (CONVERTED, "interrupted\n"),
        (SWALLOWED, "interrupted\n"),
        (HANGING, "interrupted\n"),
        (ADVISED, "the run goes on tomorrow\n"),
    ],
    ids=["asleep", "deleted", "converted", "swallowed", "hanging", "advised"],
)
def test_a_signal_ends_a_command_whatever_becomes_of_its_exception(body, errors, how):
    process, _ = started(body)
    began = time.monotonic()
    assert end(process, how) == errors
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_second_signal_ends_a_clean_up_that_hangs():
    process, _ = started(HANGING.replace("0.5", "60"))
    began = time.monotonic()
    assert end(process, signal.SIGINT, signal.SIGINT, pause=1.5) == "interrupted\n"
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_no_child_outlives_an_interrupted_command():
    process, child = started(WITH_CHILD)
    end(process, signal.SIGINT)
    with suppress(psutil.NoSuchProcess):
        ended = psutil.Process(int(child))
        deadline = time.monotonic() + 5
        while ended.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ended.status() == psutil.STATUS_ZOMBIE


def interrupted_training(tmp_path: Path, after: float) -> None:
    """Interrupt a run `after` so many seconds, and check what it leaves."""
    model = make_model(tmp_path / "model")
    words = ["train", "configs/arithmetic.yaml", f"model.path={model}", "--runs", f"{tmp_path}/r"]
    process = start(sys.executable, "launch.py", *words, start_new_session=True)
    time.sleep(after)
    family = psutil.Process(process.pid).children(recursive=True)
    errors = end(process, signal.SIGINT)
    assert "interrupted" in errors
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    assert not (tmp_path / "r" / "arithmetic" / "config.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.4, 1.5])
def test_a_run_can_be_interrupted_while_it_looks_at_its_inputs(after, tmp_path):
    interrupted_training(tmp_path, after)


@pytest.mark.ray
@pytest.mark.parametrize("after", [5.0, 9.0])
def test_a_run_can_be_interrupted_while_its_processes_start(after, tmp_path):
    interrupted_training(tmp_path, after)
