"""Grading in worker processes, each attempt with a hard deadline.

A grader that hangs or dies costs its own attempt a TIMEOUT or GRADER_ERROR and its worker a
restart; everything else goes on. Attempts travel in chunks, so that a cheap grader is not
all message passing, and a worker answers attempt by attempt, so that a deadline is each
attempt's own.
"""

import logging
import math
import multiprocessing
import queue
import threading
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection

from score_ray.types import Episode, GradedEpisode, Problem, Task, Verdict

CHUNK = 64
START_SECONDS = 120.0  # a worker imports its task's modules first

Grade = tuple[Verdict, float]  # with its reward
Item = tuple[tuple[int, int], Problem, str]  # (episode number, attempt), problem, text
_log = logging.getLogger(__name__)


class ProcessGrader:
    """Grades in the background; `collect` returns what `submit` was given."""

    def __init__(self, task: Task, num_workers: int, deadline: float) -> None:
        self._task, self._deadline = task, deadline
        self._chunks: queue.Queue[list[Item] | None] = queue.Queue()
        self._episodes: list[Episode] = []
        self._grades: dict[tuple[int, int], Grade] = {}
        self._all_graded = threading.Condition()
        self._feeders = [
            threading.Thread(target=self._feed, daemon=True) for _ in range(num_workers)
        ]
        for feeder in self._feeders:
            feeder.start()

    def submit(self, episodes: Iterable[Episode]) -> None:
        """Start grading these episodes in the background."""
        items: list[Item] = []
        for episode in episodes:
            number = len(self._episodes)
            self._episodes.append(episode)
            items += [
                ((number, i), episode.problem, attempt.text)
                for i, attempt in enumerate(episode.attempts)
            ]
        for start in range(0, len(items), CHUNK):
            self._chunks.put(items[start : start + CHUNK])

    def collect(self) -> list[GradedEpisode]:
        """Wait for everything submitted; in order of problem index and sample."""
        total = sum(len(episode.attempts) for episode in self._episodes)
        with self._all_graded:
            self._all_graded.wait_for(lambda: len(self._grades) == total)
        graded = [
            GradedEpisode(
                episode,
                tuple(
                    self._grades[number, i][0].after(attempt.finish)
                    for i, attempt in enumerate(episode.attempts)
                ),
                tuple(self._grades[number, i][1] for i in range(len(episode.attempts))),
            )
            for number, episode in enumerate(self._episodes)
        ]
        self._episodes, self._grades = [], {}
        return sorted(graded, key=lambda g: (g.episode.problem.index, g.episode.sample))

    def close(self) -> None:
        """End the workers."""
        for _ in self._feeders:
            self._chunks.put(None)
        for feeder in self._feeders:
            feeder.join()

    def _feed(self) -> None:
        worker = _Worker(self._task)
        while (chunk := self._chunks.get()) is not None:
            while chunk:
                grades = worker.grade(chunk, self._deadline)
                if len(grades) < len(chunk) or not worker.alive:
                    worker.stop()
                    worker = _Worker(self._task)
                with self._all_graded:
                    self._grades |= {
                        item[0]: grade for item, grade in zip(chunk, grades, strict=False)
                    }
                    self._all_graded.notify_all()
                chunk = chunk[len(grades) :]
        worker.stop()


class _Worker:
    """One grading process and the pipe to it."""

    def __init__(self, task: Task) -> None:
        # Not fork: the driver has threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        self._process.start()
        theirs.close()
        self._ready = False
        self.alive = True

    def grade(self, chunk: list[Item], deadline: float) -> list[Grade]:
        """Grades of the chunk's first attempts, up to one that hung or crashed included."""
        grades: list[Grade] = []
        try:
            if not self._ready:
                self._ready = self._pipe.poll(START_SECONDS) and self._pipe.recv()
            self._pipe.send([(problem, text) for _, problem, text in chunk])
            while len(grades) < len(chunk):
                if not self._pipe.poll(deadline):
                    self.alive = False
                    return [*grades, (Verdict.TIMEOUT, 0.0)]
                grades.append(self._pipe.recv())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.alive = False
            _log.warning("a grading process died on problem %s", chunk[len(grades)][1].index)
            return [*grades, (Verdict.GRADER_ERROR, 0.0)]
        return grades

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, task: Task) -> None:
    """A worker's life: grade what comes until the other end of the pipe is gone."""
    pipe.send(True)
    try:
        while True:
            for problem, text in pipe.recv():
                pipe.send(_grade(task, problem, text))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _grade(task: Task, problem: Problem, text: str) -> Grade:
    try:
        return _as_grade(task.grade(problem, text))
    except Exception:
        _log.warning("grading problem %s failed:\n%s", problem.index, traceback.format_exc())
        return Verdict.GRADER_ERROR, 0.0


def _as_grade(found: Verdict | float) -> Grade:
    if isinstance(found, Verdict):
        return found, found.reward
    reward = float(found)
    if not math.isfinite(reward):
        raise ValueError(f"a reward is a finite number or a Verdict, not {found!r}")
    return Verdict.CORRECT if reward >= 1.0 else Verdict.WRONG, reward
