"""Carries a suite out: its unfinished runs as child processes, some of them side by side.

A run is `launch.py train`, which goes on from its last checkpoint; so does the suite. With
RAY_ADDRESS set the runs join that cluster and share it; without, each has a private Ray and
its share of this machine.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from score_ray.experiments.suites.machine import shares
from score_ray.experiments.suites.suite import SuiteRun, finished, iterations_done
from score_ray.reporting.reporter import duration
from score_ray.reporting.run_folder import append_lines

LAUNCH = Path(__file__).resolve().parents[3] / "launch.py"
POLL_SECONDS = 1.0
STOP_SECONDS = 20.0
TIMES = "times.jsonl"  # in a suite's folder: a line for every time that a run was carried on


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended without being finished, and the last it said."""

    run: SuiteRun
    reason: str
    log: Path

    def __str__(self) -> str:
        return f"{self.run}: {self.reason} (log: {self.log})"


class Child:
    """A run in progress, in a process of its own."""

    def __init__(self, run: SuiteRun, share: dict[str, str]) -> None:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        self.run, self.log = run, run.folder.with_name(run.folder.name + ".log")
        self._began, self._clock = time.time(), time.monotonic()
        command = [sys.executable, str(LAUNCH), "train", str(run.recipe), *run.overrides,
                   "--runs", str(run.folder.parent)]  # fmt: skip
        with self.log.open("ab") as log:
            self._said = log.tell()
            # A group of its own: Ctrl-C reaches this process alone, which passes it on once.
            # Twice would cut a run's own clearing up short, and leave its Ray behind.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | share,
                process_group=0,
            )

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self._clock

    def record(self) -> None:
        """Note in the suite's folder how long the run was carried on for."""
        record = {
            "run": str(self.run),
            "began": self._began,
            "seconds": self.seconds,
            "exit": self.process.returncode,
        }
        append_lines(self.run.folder.parents[1] / TIMES, [record])

    def failure(self) -> Failure | None:
        """Why the ended run is not finished, if it is not."""
        code = self.process.returncode
        if code == 0 and finished(self.run):
            return None
        return Failure(self.run, self._last_words() or f"exit code {code}", self.log)

    def _last_words(self) -> str:
        """The last error line of this start, or else its last line."""
        said = self.log.read_bytes()[self._said :].decode(errors="replace").splitlines()
        lines = [line.strip() for line in said if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines or [""])[-1]


class Display:
    """How far a suite is: a bar on a terminal, else a line per run that starts or ends."""

    def __init__(self, runs: Sequence[SuiteRun], waiting: int) -> None:
        """Shows all `runs`, of which `waiting` are yet to be finished."""
        self._runs, self._waiting, self._clock = runs, waiting, time.monotonic()
        self._total = sum(run.config.iterations for run in runs)
        self._first = self._done()
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = BarColumn(bar_width=20), TextColumn("{task.description}", markup=False)
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("starting", total=self._total, completed=self._first)
            self._bar.start()

    def started(self, child: Child) -> None:
        """Say that a run starts."""
        self._say(f"{child.run}: started, {self._progress()} (log: {child.log})")

    def ended(self, child: Child, failure: Failure | None) -> None:
        """Say how a run ended."""
        self._waiting -= failure is None
        how = f"failed: {failure.reason}" if failure else "finished"
        self._say(f"{child.run}: {how} after {duration(child.seconds)}, {self._progress()}")

    def update(self, running: Iterable[SuiteRun]) -> None:
        """Move the bar, if there is one."""
        if self._bar is not None:
            names = ", ".join(map(str, running))
            text = f"{self._progress()}; {names}"
            self._bar.update(self._task, completed=self._done(), description=text)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()

    def _done(self) -> int:
        return sum(min(iterations_done(run), run.config.iterations) for run in self._runs)

    def _progress(self) -> str:
        done, whole = self._done(), len(self._runs)
        text = (
            f"{whole - self._waiting} of {whole} runs and {done} of {self._total} iterations done"
        )
        if self._first < done < self._total:
            pace = (time.monotonic() - self._clock) / (done - self._first)
            text += f", {duration(pace * (self._total - done))} left"
        return text

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def carry_out(runs: Sequence[SuiteRun], jobs: int) -> list[Failure]:
    """Bring every run to its end, `jobs` at a time and in their order; those that failed.

    A failure stops no other run. On Ctrl-C, or when the terminal goes away, all are ended as
    Ctrl-C ends a run, and KeyboardInterrupt goes on. Raises ConfigError for more jobs than GPUs.
    """
    waiting = deque(run for run in runs if not finished(run))
    free, running, failures = deque(shares(jobs)), {}, []
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not where nohup ignores it
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    display = Display(runs, len(waiting))
    try:
        while waiting or running:
            while waiting and free:
                share = free.popleft()
                child = Child(waiting.popleft(), share)
                running[child] = share
                display.started(child)
            for child in [child for child in running if child.process.poll() is not None]:
                free.append(running.pop(child))
                failures += _ended(child, display)
            display.update(child.run for child in running)
            time.sleep(POLL_SECONDS)
    finally:
        display.close()
        stop(list(running))
    return sorted(failures, key=lambda failure: runs.index(failure.run))


def _ended(child: Child, display: Display) -> list[Failure]:
    child.record()
    failure = child.failure()
    display.ended(child, failure)
    return [failure] if failure else []


def stop(children: Sequence[Child]) -> None:
    """End runs as Ctrl-C does; what is left of them after 20 s, with all its processes."""
    family = [p for child in children for p in _family(child.process.pid)]
    for child in children:
        # To launch.py the same as SIGINT, which a shell's background processes ignore.
        child.process.terminate()
    late = time.monotonic() + STOP_SECONDS
    for child in children:
        try:
            child.process.wait(max(0.0, late - time.monotonic()))
        except subprocess.TimeoutExpired:
            for process in family:
                if process.is_running():
                    process.kill()
            child.process.wait()
        child.record()


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
