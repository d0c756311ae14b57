"""A process that grades attempts, and the driver's end of the pipe to it."""

import ctypes
import multiprocessing
import os
import signal
import threading
import traceback
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import NamedTuple, Protocol, runtime_checkable

from score_ray.tasks.custom_reward import one_line, verdict_and_reward
from score_ray.tasks.sandbox.lifetime import end_descendants
from score_ray.types import Problem, RunError, Task, Verdict

START_SECONDS = 300.0  # a process has to import its task's modules
MOST_TRACE = 8000  # characters of a traceback that is shown; its end says what failed
PR_SET_PDEATHSIG = 1
# Asks a process to end with all that it has started. Not SIGTERM: multiprocessing sends that when
# the driver exits and then waits for ever, so it has to end a process that no longer runs Python.
END = signal.SIGUSR1
END_SECONDS = 2.0  # until a process that was asked to end is killed


class Grade(NamedTuple):
    """A verdict and a reward; where the measurement failed, also why, in a line and in full."""

    verdict: Verdict
    reward: float
    fault: str = ""
    trace: str = ""


@runtime_checkable
class Prepares(Protocol):
    """A task that has something to load or to check once in each grading process."""

    def prepare(self) -> None:
        """Do it; raise an error, whose message ends the run, if that fails."""
        ...


Item = tuple[tuple[int, int], Problem, str]  # (episode number, attempt), problem, text


class GradingProcess:
    """One grading process and the pipe to it; `process` is the process."""

    def __init__(self, task: Task) -> None:
        # Not fork: the driver has threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        # Ctrl-C is for the driver, which ends its workers. They inherit what is blocked here. The
        # first process of all would start a tracker of resources, which unblocks it again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.alive, self._expired = True, False

    def starts(self) -> bool:
        """Wait for the worker's first message; return False if it dies or hangs before.

        Raises RunError if its task cannot be prepared.
        """
        try:
            fault = self._pipe.recv() if self._pipe.poll(START_SECONDS) else None
        except (EOFError, OSError):
            return False
        if fault:
            raise RunError(fault)
        return fault is not None

    def grade(self, chunk: list[Item], deadline: float) -> list[Grade]:
        """Return the grades of the chunk's attempts, up to and including one that hangs or dies."""
        grades: list[Grade] = []
        late = _failed(Verdict.TIMEOUT, f"not graded within grading.deadline, {deadline:g} s")
        try:
            self._send(chunk, deadline)
            while len(grades) < len(chunk):
                if not self._pipe.poll(deadline):
                    self.alive = False
                    return [*grades, late]
                grades.append(self._pipe.recv())
        except (EOFError, OSError):
            self.alive = False
            return [*grades, late if self._expired else _failed(Verdict.GRADER_ERROR, self._end())]
        return grades

    def _end(self) -> str:
        """Return how the process ended."""
        self.process.join(1.0)
        return f"the grading process died (exit code {self.process.exitcode})"

    def ask_to_end(self) -> None:
        """Have the process end its sandbox and itself, as it does unless it no longer reacts."""
        if self.process.exitcode is None and self.process.pid:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, END)

    def end(self) -> None:
        """End the process, by force if need be; a thread that waits for its reply gets an EOFError.

        A killed process would leave its sandbox to process 1, which may not collect it.
        """
        self.ask_to_end()
        wait([self.process.sentinel], END_SECONDS)  # not `join`: other threads may call this too
        self.process.kill()

    def stop(self) -> None:
        """End the process and free its resources."""
        self.end()
        self.process.join()
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
        self.end()


def _serve(pipe: Connection, task: Task) -> None:
    """Run a worker process: grade attempts until the other end of the pipe is closed."""
    # A hanging grader would not notice a closed pipe. So the kernel kills this process when the
    # thread that started it ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(END, _end)
    try:
        pipe.send(_prepare(task))
        process = os.getpid()
        while True:
            for problem, text in pipe.recv():
                grade = _grade(task, problem, text)
                if os.getpid() != process:
                    os._exit(1)  # a grader that forks, and lets the child return too
                pipe.send(grade)
    except (EOFError, BrokenPipeError):
        return


def _end(signum: int, frame: object) -> None:
    end_descendants()
    os._exit(128 + signum)


def _prepare(task: Task) -> str:
    """Prepare a task; return why that failed, or ""."""
    try:
        if isinstance(task, Prepares):
            task.prepare()
    except ValueError as error:
        return str(error)
    except BaseException as error:
        return f"grading cannot start: {one_line(error)}"
    return ""


def _grade(task: Task, problem: Problem, text: str) -> Grade:
    try:
        result = task.grade(problem, text)
    # A grader may also call sys.exit, or raise KeyboardInterrupt.
    except BaseException as error:
        return _failed(Verdict.GRADER_ERROR, one_line(error), traceback.format_exc()[-MOST_TRACE:])
    try:
        verdict, reward = verdict_and_reward(result)
    # The result may be of a class of the grader's own, whose methods may raise anything.
    except BaseException as error:
        return _failed(Verdict.GRADER_ERROR, one_line(error))
    if verdict.is_measured:
        return Grade(verdict, reward)
    return _failed(verdict, f"the grader returned the verdict {verdict.value}")


def _failed(verdict: Verdict, fault: str, trace: str = "") -> Grade:
    return Grade(verdict, verdict.reward, fault, trace)
