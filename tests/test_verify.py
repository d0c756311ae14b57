import multiprocessing
import os
import signal
import time
from dataclasses import dataclass

import pytest

from score_ray.types import Attempt, Episode, Finish, Problem, RunError, Verdict
from score_ray.verify import ProcessGrader


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
    began = time.monotonic()
    grader.close()
    assert time.monotonic() - began < 5
    assert not multiprocessing.active_children()


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
    grader.close()
    assert not multiprocessing.active_children()
