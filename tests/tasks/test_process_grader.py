import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from score_ray.tasks import grading_process
from score_ray.tasks.custom_reward import CustomReward
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.tasks.sums import Sums
from score_ray.types import Episode, Finish, Problem, RunError, Verdict
from tests.support.text_episodes import text_episode

# A bug in the grader can make these tests hang.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def fork(problem):
    """Return in the child too, as a program does that forgets to end it."""
    if os.fork():
        os.wait()


def raise_(error: BaseException):
    raise error


MISDEEDS = {
    "hang": lambda problem: time.sleep(1000),
    "die": lambda problem: os._exit(3),
    "raise": lambda problem: raise_(RuntimeError("a fault of the grader")),
    "exit": lambda problem: sys.exit(0),
    "interrupt": lambda problem: raise_(KeyboardInterrupt()),
    "fork": fork,
    "change the problem": lambda problem: setattr(problem, "answer", "5"),
    "thread": lambda problem: threading.Thread(target=time.sleep, args=[1000]).start(),
    "chdir": lambda problem: os.chdir("/"),
    "print": lambda problem: print("x" * 2**20),
}


@dataclass(frozen=True)
class Hostile:
    """A task that does to its grading process what the attempt says."""

    def problems(self, split):
        return []

    def grade(self, problem, text):
        MISDEEDS.get(text, lambda problem: None)(problem)
        if text == "gave up":
            return Verdict.GRADER_ERROR
        if text.startswith("reward "):
            return float(text.removeprefix("reward "))
        return Verdict.CORRECT if text == "right" else Verdict.WRONG


def episode(index: int, *texts: str, finish: Finish = Finish.STOP) -> Episode:
    return text_episode(Problem(index, "q", "a"), *texts, finish=finish)


def workers() -> list[psutil.Process]:
    """Return the grading processes that are alive."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline())
    ]


@pytest.fixture
def grader():
    grader = ProcessGrader(Hostile(), num_workers=1, deadline=1.0)
    yield grader
    grader.close()


def test_a_hanging_dying_or_raising_grader_costs_only_its_own_attempt(grader):
    grader.submit([episode(3, "right", "hang"), episode(2, "die", "right")])
    grader.submit([episode(1, "raise", "wrong"), episode(0, "right", "right")])
    graded = [(g.episode.problem.index, *g.verdicts) for g in grader.collect()]
    assert graded == [
        (0, Verdict.CORRECT, Verdict.CORRECT),
        (1, Verdict.GRADER_ERROR, Verdict.WRONG),
        (2, Verdict.GRADER_ERROR, Verdict.CORRECT),
        (3, Verdict.CORRECT, Verdict.TIMEOUT),
    ]
    grader.submit([episode(9, "right", "wrong")])
    assert [g.verdicts for g in grader.collect()] == [(Verdict.CORRECT, Verdict.WRONG)]


def test_a_cut_attempt_is_truncated_unless_it_is_correct(grader):
    grader.submit([episode(0, "right", "wrong", finish=Finish.LENGTH)])
    assert grader.collect()[0].verdicts == (Verdict.CORRECT, Verdict.TRUNCATED)


def test_a_number_is_the_reward_and_from_1_on_it_counts_as_correct(grader):
    grader.submit([episode(0, "reward 0.25", "reward 1"), episode(1, "reward -2", "reward nan")])
    grader.submit([episode(2, "right", "reward 0.5", finish=Finish.LENGTH)])
    graded = [(g.verdicts, g.rewards) for g in grader.collect()]
    assert graded == [
        ((Verdict.WRONG, Verdict.CORRECT), (0.25, 1.0)),
        ((Verdict.WRONG, Verdict.GRADER_ERROR), (-2.0, pytest.approx(math.nan, nan_ok=True))),
        ((Verdict.CORRECT, Verdict.TRUNCATED), (1.0, 0.5)),
    ]


def test_a_grader_that_misbehaves_is_right_or_costs_its_own_attempt(grader, caplog):
    """Each of these is followed by an attempt that the same process must still grade right."""
    works = ["fork", "thread", "chdir", "print"]
    fails = ["exit", "interrupt", "change the problem", "gave up"]
    grader.submit([episode(i, text, "right") for i, text in enumerate(works + fails)])
    process = grader._workers[0].process.pid if grader._workers else None
    verdicts = {text: g.verdicts for text, g in zip(works + fails, grader.collect(), strict=True)}
    wanted = dict.fromkeys(works, Verdict.WRONG) | dict.fromkeys(fails, Verdict.GRADER_ERROR)
    assert verdicts == {text: (verdict, Verdict.CORRECT) for text, verdict in wanted.items()}
    assert process in (None, grader._workers[0].process.pid)
    assert grader.fault.startswith("SystemExit: 0")


def test_what_is_no_reward_is_said_in_one_line_without_a_traceback(grader, caplog):
    grader.submit([episode(0, "reward nan")])
    grader.collect()
    (line,) = caplog.records[0].getMessage().splitlines()
    assert "ValueError: a reward must be a finite number or a Verdict, not nan" in line


def test_the_first_failure_of_each_kind_is_shown_in_full_and_later_ones_are_counted(grader, caplog):
    grader.submit([episode(0, "raise", "hang"), episode(1, "raise", "die"), episode(2, "hang")])
    grader.collect()
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("problem 0: RuntimeError: a fault of the grader; such attempts give no")
    assert first.count("Traceback") == 1
    assert "problem 0: not graded within grading.deadline, 1 s" in second
    assert grader.fault == "RuntimeError: a fault of the grader"
    grader.submit([episode(0, "right", "die")])
    grader.collect()
    assert grader.fault == "the grading process died (exit code 3)"
    grader.submit([episode(0, "right")])
    grader.collect()
    assert grader.fault == ""
    assert len(caplog.records) == 2


SLOW = """
import pathlib, time
with pathlib.Path({mark!r}).open("a") as file:
    file.write("imported\\n")
time.sleep(1.5)

def score(problem, text):
    if text == "hang":
        time.sleep(1000)
    return text == "right"
"""


def test_a_reward_that_is_slow_to_import_is_imported_when_a_worker_starts(tmp_path, monkeypatch):
    """Its import takes longer than the deadline, also in the worker after one that hung."""
    mark = tmp_path / "mark"
    (tmp_path / "slow_import.py").write_text(SLOW.format(mark=str(mark)))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    task = CustomReward(Sums(), "slow_import:score")
    grader = ProcessGrader(task, num_workers=1, deadline=0.5)
    grader.submit([episode(0, "right", "hang"), episode(1, "right", "wrong")])
    assert [g.verdicts for g in grader.collect()] == [
        (Verdict.CORRECT, Verdict.TIMEOUT),
        (Verdict.CORRECT, Verdict.WRONG),
    ]
    grader.close()
    assert mark.read_text() == "imported\n" * 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_helper", "cannot import 'bad_module': ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)", r"'bad_module': SystemExit: 3 \(.*bad_module.py, line 2\)"),
    ],
)  # fmt: skip
def test_an_import_that_fails_in_a_worker_ends_the_run_in_one_line(
    source, message, tmp_path, monkeypatch
):
    (tmp_path / "bad_module.py").write_text(source)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    grader = ProcessGrader(CustomReward(Sums(), "bad_module:score"), 1, deadline=1.0)
    grader.submit([episode(0, "right")])
    with pytest.raises(RunError, match=message) as raised:
        grader.collect()
    assert "\n" not in str(raised.value)
    grader.close()


def test_a_stopped_worker_is_a_timeout_and_another_one_grades_the_rest(grader):
    grader.submit([episode(0, "right")])
    grader.collect()
    os.kill(grader._workers[0].process.pid, signal.SIGSTOP)
    # This is more than a pipe holds: a sender without a deadline would wait for ever.
    grader.submit([episode(i, "right " + "x" * 10_000) for i in range(64)])
    verdicts = [g.verdicts[0] for g in grader.collect()]
    assert verdicts == [Verdict.TIMEOUT] + [Verdict.WRONG] * 63


def test_close_ends_a_stopped_worker_with_work_still_queued():
    grader = ProcessGrader(Hostile(), num_workers=1, deadline=1000.0)
    grader.submit([episode(0, "right")])
    grader.collect()
    os.kill(grader._workers[0].process.pid, signal.SIGSTOP)
    for index in range(10):
        grader.submit([episode(index, "right")])
    assert workers()
    began = time.monotonic()
    grader.close()
    assert time.monotonic() - began < 5
    assert not workers()


@dataclass(frozen=True)
class DeadlyToUnpickle:
    """A task that kills the process that unpickles it."""

    def __setstate__(self, state):
        os._exit(4)

    def __getstate__(self):
        return {"a": 1}

    def problems(self, split):
        return []

    def grade(self, problem, text):
        return Verdict.CORRECT


def test_collect_raises_and_does_not_hang_if_workers_never_start():
    grader = ProcessGrader(DeadlyToUnpickle(), num_workers=1, deadline=1.0)
    grader.submit([episode(0, "right")])
    with pytest.raises(RunError, match="grading workers die"):
        grader.collect()
    grader.close()


def test_close_leaves_no_process():
    grader = ProcessGrader(Hostile(), num_workers=2, deadline=1.0)
    grader.submit([episode(0, "right")])
    grader.collect()
    assert len(workers()) == 2
    grader.close()
    assert not workers()


@dataclass(frozen=True)
class StopsWhenUnpickled:
    """A task that stops the process that unpickles it: only the first one, or always."""

    mark: str
    always: bool = False

    def __setstate__(self, state):
        for name, value in state.items():
            object.__setattr__(self, name, value)
        if self.always or not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGSTOP)

    def __getstate__(self):
        return {"mark": self.mark, "always": self.always}

    def problems(self, split):
        return []

    def grade(self, problem, text):
        return Verdict.CORRECT


def test_a_worker_that_is_stopped_while_it_starts_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(grading_process, "START_SECONDS", 10.0)
    grader = ProcessGrader(StopsWhenUnpickled(str(tmp_path / "mark")), num_workers=1, deadline=5.0)
    grader.submit([episode(0, "right")])
    assert [g.verdicts for g in grader.collect()] == [(Verdict.CORRECT,)]
    grader.close()
    assert not workers()


def test_collect_raises_if_all_workers_are_stopped_while_they_start(tmp_path, monkeypatch):
    monkeypatch.setattr(grading_process, "START_SECONDS", 1.0)
    grader = ProcessGrader(StopsWhenUnpickled(str(tmp_path / "mark"), always=True), 1, deadline=1.0)
    grader.submit([episode(0, "right")])
    with pytest.raises(RunError, match="hang for 1 s, when they start"):
        grader.collect()
    grader.close()
    assert not workers()


@pytest.mark.parametrize("seconds", [0.0, 0.002, 0.5])
def test_close_does_not_wait_for_workers_that_are_starting(tmp_path, seconds):
    grader = ProcessGrader(StopsWhenUnpickled(str(tmp_path / "mark"), always=True), 2, deadline=1.0)
    time.sleep(seconds)
    began = time.monotonic()
    grader.close()
    assert time.monotonic() - began < 5
    assert not workers()


def test_collect_raises_if_no_process_can_be_made():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        grader = ProcessGrader(Hostile(), num_workers=2, deadline=1.0)
        grader.submit([episode(0, "right")])
        with pytest.raises(OSError, match="Too many open files"):
            grader.collect()
        grader.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_collect_raises_and_leaves_no_timer_if_a_problem_cannot_be_pickled():
    grader = ProcessGrader(Hostile(), num_workers=1, deadline=1000.0)
    unsendable = episode(0, "right")
    grader.submit([replace(unsendable, problem=Problem(0, "q", threading.Lock()))])
    with pytest.raises(TypeError, match="pickle"):
        grader.collect()
    grader.close()
    # A timer that is left would delay the end of the whole process.
    for timer in [t for t in threading.enumerate() if getattr(t, "interval", 0) == 1000.0]:
        timer.join(timeout=10)
        assert not timer.is_alive()


DRIVER = """
import os, time
from score_ray.types import Problem
from score_ray.tasks.process_grader import ProcessGrader
from tests.support.text_episodes import text_episode

class Hang:
    def grade(self, problem, text):
        print(os.getpid(), flush=True)
        time.sleep(1000)

if __name__ == "__main__":
    grader = ProcessGrader(Hang(), num_workers=1, deadline=1000.0)
    grader.submit([text_episode(Problem(0, "q", "a"), "right")])
    grader.collect()
"""


def test_a_hung_worker_does_not_outlive_a_driver_that_is_killed(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, tmp_path / "driver.py"],
        env={**os.environ, "PYTHONPATH": "."},
        stdout=subprocess.PIPE,
    )
    assert driver.stdout
    worker = psutil.Process(int(driver.stdout.readline()))  # it hangs after it has printed this
    driver.kill()
    driver.wait()
    try:
        worker.wait(timeout=10)
    finally:
        if worker.is_running():
            worker.kill()


IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
ENDED = """
import sys
import time
from pathlib import Path
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.tasks.sandbox.sandbox import Limits, run
from score_ray.types import Problem
from tests.support.text_episodes import text_episode

class Runs:
    def grade(self, problem, text):
        run(text, Limits(seconds=1000, cpu_seconds=1000))
        return 1.0

def count():
    return sum(path.name.isdigit() for path in Path("/proc").iterdir())

if __name__ == "__main__":
    endless = text_episode(Problem(0, "q", "a"), "while True: pass", "import time; time.sleep(999)")
    grader = ProcessGrader(Runs(), num_workers=1, deadline=60.0)
    grader.submit([text_episode(Problem(0, "q", "a"), "1")])
    grader.collect()
    before, grader._deadline = count(), 1.0
    grader.submit([endless])
    grader.collect()
    after_deadlines = count()
    grader.submit([endless])
    time.sleep(0.5)
    grader.close()
    print(after_deadlines - before, count() - before)
"""


def test_a_worker_that_is_ended_takes_its_sandbox_along_where_process_1_collects_no_orphan(
    tmp_path,
):
    """A deadline passes twice, and then the worker is ended while a program runs."""
    (tmp_path / "driver.py").write_text(ENDED)
    done = subprocess.run(
        [*IN_A_NAMESPACE, sys.executable, tmp_path / "driver.py"],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    if "unshare:" in done.stderr:
        pytest.skip("this machine gives no namespace of processes")
    assert done.stdout.strip() == "0 -1"  # -1: the worker itself


def test_a_worker_that_ignores_the_request_to_end_is_killed(monkeypatch):
    monkeypatch.setattr(grading_process, "END_SECONDS", 0.3)
    grader = ProcessGrader(Hostile(), num_workers=2, deadline=1000.0)
    grader.submit([episode(0, "right")])
    grader.collect()
    for worker in grader._workers.values():
        os.kill(worker.process.pid, signal.SIGSTOP)
    grader.close()
    assert not workers()


BLOCKS_SIGINT = """
import re, signal
from pathlib import Path
from score_ray.tasks.arithmetic import Arithmetic
from score_ray.tasks.grading_process import GradingProcess

if __name__ == "__main__":
    worker = GradingProcess(Arithmetic())
    assert worker.starts()
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    blocked = int(re.search(r"SigBlk:\\s*(\\w+)", status)[1], 16)
    worker.stop()
    print(bool(blocked >> (signal.SIGINT - 1) & 1))
"""


def test_the_first_process_of_a_program_leaves_ctrl_c_to_the_program(tmp_path):
    script = tmp_path / "first.py"
    script.write_text(BLOCKS_SIGINT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("True\n", "")
