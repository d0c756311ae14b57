"""Grades attempts in worker processes, with a hard deadline for each attempt.

An attempt on which its worker hangs or dies becomes a TIMEOUT or GRADER_ERROR, and the worker is
restarted; the other attempts are not affected. Attempts are sent in chunks, so that message
passing does not dominate cheap grading. A worker replies attempt by attempt, so that the
deadline applies to each. What a task has to load, it loads when a worker starts, outside any
attempt's deadline.
"""

import logging
import queue
import threading
from collections.abc import Iterable

from score_ray.tasks import grading_process
from score_ray.tasks.grading_process import Grade, GradingProcess, Item
from score_ray.types import Episode, GradedEpisode, RunError, Task, Verdict

CHUNK = 64

_log = logging.getLogger(__name__)


class ProcessGrader:
    """A grader with worker processes, each fed by a thread."""

    def __init__(self, task: Task, num_workers: int, deadline: float) -> None:
        self._task, self._deadline = task, deadline
        self._chunks: queue.Queue[list[Item] | None] = queue.Queue()
        self._episodes: list[Episode] = []
        self._grades: dict[tuple[int, int], Grade] = {}
        self._shown: set[Verdict] = set()  # kinds of failures that were shown
        self.fault = ""  # why the first failed measurement of the last `collect` failed
        self._all_graded = threading.Condition()
        self._error: BaseException | None = None
        self._closed = False
        self._workers: dict[int, GradingProcess] = {}
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
        self.fault = next((g.fault for g in self._grades.values() if g.fault), "")
        self._episodes, self._grades = [], {}
        return sorted(graded, key=lambda g: (g.episode.problem.index, g.episode.sample))

    def forget(self) -> None:
        """Discard what was submitted and not collected, after it is graded."""
        self.collect()

    def close(self) -> None:
        """End the workers at once; attempts that are not graded yet are dropped."""
        self._closed = True
        for _ in self._feeders:
            self._chunks.put(None)
        workers = list(self._workers.values())
        for worker in workers:  # all at first, so that those that do not react wait together
            worker.ask_to_end()
        for worker in workers:
            worker.end()
        for feeder in self._feeders:
            feeder.join()

    def _graded_episode(self, number: int) -> GradedEpisode:
        episode = self._episodes[number]
        grades = [self._grades[number, i] for i in range(len(episode.attempts))]
        both = zip(grades, episode.attempts, strict=True)
        verdicts = [grade.verdict.after(attempt.finish) for grade, attempt in both]
        return GradedEpisode(episode, tuple(verdicts), tuple(grade.reward for grade in grades))

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
                self._store(chunk, grades)
                chunk = chunk[len(grades) :]

    def _store(self, chunk: list[Item], grades: list[Grade]) -> None:
        """Store the grades of the chunk's first attempts; show the first failure of each kind."""
        with self._all_graded:
            for (key, problem, _), grade in zip(chunk, grades, strict=False):
                self._grades[key] = grade
                if grade.fault and grade.verdict not in self._shown and not self._closed:
                    self._shown.add(grade.verdict)
                    _log.warning(
                        "%s: %s; such attempts give no reward and no gradient, and later ones "
                        "are only counted, as %s%s",
                        *(problem.place, grade.fault, grade.verdict.value),
                        grade.trace and f"\n{grade.trace}",
                    )
            self._all_graded.notify_all()

    def _renew(self, number: int) -> None:
        """Replace this feeder's worker; try a second time if the new one does not start.

        Raises RunError if that fails too, or if the task cannot be prepared.
        """
        for _ in range(2):
            if number in self._workers:
                self._workers.pop(number).stop()
            if self._closed:
                return
            self._workers[number] = GradingProcess(self._task)
            if self._closed:  # `close` may have ended the workers before this one was listed
                self._workers[number].end()
            if self._workers[number].starts() or self._closed:
                return
        seconds = grading_process.START_SECONDS
        raise RunError(f"grading workers die, or hang for {seconds:.0f} s, when they start")
