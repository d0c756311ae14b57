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

from score_ray.tasks import process_grader
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.types import Attempt, Episode, Finish, Problem, RunError, Verdict

pytestmark = pytest.mark.timeout(120)  # what is tested here used to be able to hang


@dataclass(frozen=True)
class Hostile:
    """Does to the grader what the attempt says."""

    def problems(self, split):
        return []

    def grade(self, problem, text):
        if text == "hang":
            time.sleep(1000)
        if text == "die":
            os._exit(3)
        if text == "raise":
            raise RuntimeError("a fault of the grader")
        if text.startswith("reward "):
            return float(text.removeprefix("reward "))
        return Verdict.CORRECT if text == "right" else Verdict.WRONG


def episode(index: int, *texts: str, finish: Finish = Finish.STOP) -> Episode:
    attempts, prompt = [], (1,)
    for text in texts:
        attempts.append(Attempt(prompt, (2,), (-1.0,), text, finish, 0))
        prompt = (*prompt, 2, 3)
    return Episode(Problem(index, "q", "a"), 0, tuple(attempts))


def workers() -> list[psutil.Process]:
    """The grading processes that are alive, whether anyone still knows them or not."""
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
    found = [(g.episode.problem.index, *g.verdicts) for g in grader.collect()]
    assert found == [
        (0, Verdict.CORRECT, Verdict.CORRECT),
        (1, Verdict.GRADER_ERROR, Verdict.WRONG),
        (2, Verdict.GRADER_ERROR, Verdict.CORRECT),
        (3, Verdict.CORRECT, Verdict.TIMEOUT),
    ]
    grader.submit([episode(9, "right", "wrong")])
    assert [g.verdicts for g in grader.collect()] == [(Verdict.CORRECT, Verdict.WRONG)]


def test_a_cut_attempt_is_truncated_unless_it_is_right_as_it_stands(grader):
    grader.submit([episode(0, "right", "wrong", finish=Finish.LENGTH)])
    assert grader.collect()[0].verdicts == (Verdict.CORRECT, Verdict.TRUNCATED)


def test_a_number_is_the_reward_and_counts_as_correct_from_1_on(grader):
    grader.submit([episode(0, "reward 0.25", "reward 1"), episode(1, "reward -2", "reward nan")])
    grader.submit([episode(2, "right", "reward 0.5", finish=Finish.LENGTH)])
    found = [(g.verdicts, g.rewards) for g in grader.collect()]
    assert found == [
        ((Verdict.WRONG, Verdict.CORRECT), (0.25, 1.0)),
        ((Verdict.WRONG, Verdict.GRADER_ERROR), (-2.0, 0.0)),
        ((Verdict.CORRECT, Verdict.TRUNCATED), (1.0, 0.5)),
    ]


def test_a_stopped_worker_times_out_and_the_next_one_grades_on(grader):
    grader.submit([episode(0, "right")])
    grader.collect()
    os.kill(grader._workers[0]._process.pid, signal.SIGSTOP)
    # More than a pipe holds: a sender without a deadline would wait for ever.
    grader.submit([episode(i, "right " + "x" * 10_000) for i in range(64)])
    found = [g.verdicts[0] for g in grader.collect()]
    assert found == [Verdict.TIMEOUT] + [Verdict.WRONG] * 63


def test_close_ends_a_stopped_worker_with_work_still_queued():
    grader = ProcessGrader(Hostile(), num_workers=1, deadline=1000.0)
    grader.submit([episode(0, "right")])
    grader.collect()
    os.kill(grader._workers[0]._process.pid, signal.SIGSTOP)
    for index in range(10):
        grader.submit([episode(index, "right")])
    assert workers()
    began = time.monotonic()
    grader.close()
    assert time.monotonic() - began < 5
    assert not workers()


@dataclass(frozen=True)
class Unbearable:
    """Cannot be brought to life in another process."""

    def __setstate__(self, state):
        os._exit(4)

    def __getstate__(self):
        return {"a": 1}

    def problems(self, split):
        return []

    def grade(self, problem, text):
        return Verdict.CORRECT


def test_workers_that_never_start_are_an_error_of_collect_and_not_a_hang():
    grader = ProcessGrader(Unbearable(), num_workers=1, deadline=1.0)
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
class Starter:
    """Stops or holds up its process when it comes to life there, in the first of them or in all."""

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


def test_a_worker_that_is_stopped_while_it_starts_makes_room_for_one_that_grades(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(process_grader, "START_SECONDS", 10.0)
    grader = ProcessGrader(Starter(str(tmp_path / "mark")), num_workers=1, deadline=5.0)
    grader.submit([episode(0, "right")])
    assert [g.verdicts for g in grader.collect()] == [(Verdict.CORRECT,)]
    grader.close()
    assert not workers()


def test_workers_that_are_all_stopped_while_they_start_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(process_grader, "START_SECONDS", 1.0)
    grader = ProcessGrader(Starter(str(tmp_path / "mark"), always=True), 1, deadline=1.0)
    grader.submit([episode(0, "right")])
    with pytest.raises(RunError, match="hang for 1 s, when they start"):
        grader.collect()
    grader.close()
    assert not workers()


@pytest.mark.parametrize("seconds", [0.0, 0.002, 0.5])
def test_close_does_not_wait_for_workers_that_are_starting(tmp_path, seconds):
    grader = ProcessGrader(Starter(str(tmp_path / "mark"), always=True), 2, deadline=1.0)
    time.sleep(seconds)
    began = time.monotonic()
    grader.close()
    assert time.monotonic() - began < 5
    assert not workers()


def test_a_process_that_cannot_be_made_is_an_error_of_collect():
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


def test_a_problem_that_cannot_be_sent_is_an_error_of_collect_and_leaves_no_timer():
    grader = ProcessGrader(Hostile(), num_workers=1, deadline=1000.0)
    unsendable = episode(0, "right")
    grader.submit([replace(unsendable, problem=Problem(0, "q", threading.Lock()))])
    with pytest.raises(TypeError, match="pickle"):
        grader.collect()
    grader.close()
    # A timer would hold up the end of the whole process.
    for timer in [t for t in threading.enumerate() if getattr(t, "interval", 0) == 1000.0]:
        timer.join(timeout=10)
        assert not timer.is_alive()


DRIVER = """
import os, time
from score_ray.types import Problem
from score_ray.tasks.process_grader import ProcessGrader
from tests.tasks.test_process_grader import episode

class Hang:
    def grade(self, problem, text):
        print(os.getpid(), flush=True)
        time.sleep(1000)

if __name__ == "__main__":
    grader = ProcessGrader(Hang(), num_workers=1, deadline=1000.0)
    grader.submit([episode(0, "right")])
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
    worker = psutil.Process(int(driver.stdout.readline()))  # it hangs by now
    driver.kill()
    driver.wait()
    try:
        worker.wait(timeout=10)
    finally:
        if worker.is_running():
            worker.kill()
