"""Grades attempts in worker processes, with a hard deadline for each attempt.

An attempt on which its worker hangs or dies becomes a TIMEOUT or GRADER_ERROR, and the worker is
restarted; the other attempts are not affected. Attempts are sent in chunks, so that message
passing does not dominate cheap grading. A worker replies attempt by attempt, so that the
deadline applies to each.
"""

import ctypes
import logging
import math
import multiprocessing
import queue
import signal
import threading
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection

from score_ray.types import Episode, GradedEpisode, Problem, RunError, Task, Verdict

CHUNK = 64
START_SECONDS = 120.0  # a worker has to import its task's modules
PR_SET_PDEATHSIG = 1

Grade = tuple[Verdict, float]  # verdict and reward
Item = tuple[tuple[int, int], Problem, str]  # (episode number, attempt), problem, text
_log = logging.getLogger(__name__)


class ProcessGrader:
    """A grader with worker processes, each fed by a thread."""

    def __init__(self, task: Task, num_workers: int, deadline: float) -> None:
        self._task, self._deadline = task, deadline
        self._chunks: queue.Queue[list[Item] | None] = queue.Queue()
        self._episodes: list[Episode] = []
        self._grades: dict[tuple[int, int], Grade] = {}
        self._all_graded = threading.Condition()
        self._error: BaseException | None = None
        self._closed = False
        self._workers: dict[int, _Worker] = {}
        self._feeders = [
            threading.Thread(target=self._run, args=[number], daemon=True)
            for number in range(num_workers)
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
        """Wait for everything submitted; return it in order of problem index and sample.

        Raises the error that kept a grading worker from starting.
        """
        total = sum(len(episode.attempts) for episode in self._episodes)
        with self._all_graded:
            self._all_graded.wait_for(lambda: self._error or len(self._grades) == total)
        if self._error:
            raise self._error
        graded = [self._graded_episode(number) for number in range(len(self._episodes))]
        self._episodes, self._grades = [], {}
        return sorted(graded, key=lambda g: (g.episode.problem.index, g.episode.sample))

    def forget(self) -> None:
        """Discard what was submitted and not collected, after it is graded."""
        self.collect()

    def close(self) -> None:
        """Kill the workers at once; attempts that are not graded yet are dropped."""
        self._closed = True
        for _ in self._feeders:
            self._chunks.put(None)
        for worker in list(self._workers.values()):
            worker.kill()
        for feeder in self._feeders:
            feeder.join()

    def _graded_episode(self, number: int) -> GradedEpisode:
        episode = self._episodes[number]
        grades = [self._grades[number, i] for i in range(len(episode.attempts))]
        verdicts = [
            verdict.after(attempt.finish)
            for (verdict, _), attempt in zip(grades, episode.attempts, strict=True)
        ]
        return GradedEpisode(episode, tuple(verdicts), tuple(reward for _, reward in grades))

    def _run(self, number: int) -> None:
        """Feed one worker until the grader is closed; hand any error to `collect`."""
        try:
            self._feed(number)
        except BaseException as error:
            with self._all_graded:
                self._error = error
                self._all_graded.notify_all()
        finally:
            if number in self._workers:
                self._workers.pop(number).stop()

    def _feed(self, number: int) -> None:
        """Send chunks to one worker and store its grades; replace the worker if it is lost."""
        self._renew(number)
        while not self._closed and (chunk := self._chunks.get()) is not None:
            while chunk and not self._closed:
                grades = self._workers[number].grade(chunk, self._deadline)
                if not self._workers[number].alive:
                    self._renew(number)
                with self._all_graded:
                    self._grades |= {
                        item[0]: grade for item, grade in zip(chunk, grades, strict=False)
                    }
                    self._all_graded.notify_all()
                chunk = chunk[len(grades) :]

    def _renew(self, number: int) -> None:
        """Replace this feeder's worker; try a second time if the new one does not start."""
        for _ in range(2):
            if number in self._workers:
                self._workers.pop(number).stop()
            if self._closed:
                return
            self._workers[number] = _Worker(self._task)
            if self._closed:  # `close` may have killed the workers before this one was listed
                self._workers[number].kill()
            if self._workers[number].starts() or self._closed:
                return
        raise RunError(f"grading workers die, or hang for {START_SECONDS:.0f} s, when they start")


class _Worker:
    """One grading process and the pipe to it."""

    def __init__(self, task: Task) -> None:
        # Not fork: the driver has threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        self._process.start()
        theirs.close()
        self.alive, self._expired = True, False

    def starts(self) -> bool:
        """Wait for the worker's first message; return False if it dies or hangs before."""
        try:
            return self._pipe.poll(START_SECONDS) and self._pipe.recv()
        except (EOFError, OSError):
            return False

    def grade(self, chunk: list[Item], deadline: float) -> list[Grade]:
        """Return the grades of the chunk's attempts, up to and including one that hangs or dies."""
        grades: list[Grade] = []
        try:
            self._send(chunk, deadline)
            while len(grades) < len(chunk):
                if not self._pipe.poll(deadline):
                    self.alive = False
                    return [*grades, (Verdict.TIMEOUT, 0.0)]
                grades.append(self._pipe.recv())
        except (EOFError, OSError):
            self.alive = False
            if self._expired:
                return [*grades, (Verdict.TIMEOUT, 0.0)]
            _log.warning("a grading process died on problem %s", chunk[len(grades)][1].index)
            return [*grades, (Verdict.GRADER_ERROR, 0.0)]
        return grades

    def kill(self) -> None:
        """Kill the process; a thread that waits for its reply gets an EOFError."""
        self._process.kill()

    def stop(self) -> None:
        """Kill the process and free its resources."""
        self.kill()
        self._process.join()
        self._pipe.close()

    def _send(self, chunk: list[Item], deadline: float) -> None:
        # A worker that does not read would block the sender when the pipe is full.
        unread = threading.Timer(deadline, self._expire)
        unread.start()
        try:
            self._pipe.send([(problem, text) for _, problem, text in chunk])
        finally:
            unread.cancel()

    def _expire(self) -> None:
        self._expired = True
        self.kill()


def _serve(pipe: Connection, task: Task) -> None:
    """Run a worker process: grade attempts until the other end of the pipe is closed."""
    # A hanging grader would not notice a closed pipe. So the kernel kills this process when the
    # thread that started it ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        pipe.send(True)
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


def _as_grade(result: Verdict | float) -> Grade:
    if isinstance(result, Verdict):
        return result, result.reward
    reward = float(result)
    if not math.isfinite(reward):
        raise ValueError(f"a reward must be a finite number or a Verdict, not {result!r}")
    return Verdict.CORRECT if reward >= 1.0 else Verdict.WRONG, reward
