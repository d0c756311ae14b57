"""Runs the unfinished runs of a suite as child processes, some of them side by side.

A run is the command `train`, which resumes from its last checkpoint; so a suite resumes too.
With RAY_ADDRESS set the runs join that cluster and share it; without, each has a private Ray and
a share of this machine.
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

from score_ray.experiments.suites.machine import shares
from score_ray.experiments.suites.suite import SuiteRun, finished
from score_ray.reporting.json_lines import append_lines
from score_ray.reporting.progress_bar import ProgressBar
from score_ray.reporting.reporter import duration

LAUNCH = Path(__file__).resolve().parents[3] / "launch.py"
POLL_SECONDS = 1.0
STOP_SECONDS = 20.0
TIMES = "times.jsonl"  # in a suite's folder: a record per process of a run


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended unfinished, its last error line, and its log."""

    run: SuiteRun
    reason: str
    log: Path

    def __str__(self) -> str:
        return f"{self.run}: {self.reason} (log: {self.log})"


class RunProcess:
    """A run in progress, in a process of its own."""

    def __init__(self, run: SuiteRun, share: dict[str, str]) -> None:
        """Start the run with the environment variables of its share of the machine."""
        folder = run.folder.path
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.run, self.log = run, folder.with_name(folder.name + ".log")
        self._began, self._clock = time.time(), time.monotonic()
        command = [sys.executable, str(LAUNCH), "train", str(run.recipe), *run.overrides,
                   "--runs", str(folder.parent)]  # fmt: skip
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            # In its own process group the run does not get the terminal's Ctrl-C, which this
            # process passes on. A second one would cut its shutdown short and leave its Ray.
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
        """Seconds since the start."""
        return time.monotonic() - self._clock

    def record(self) -> None:
        """Append the seconds and the exit code of the ended process to the suite's folder."""
        record = {
            "run": str(self.run),
            "began": self._began,
            "seconds": self.seconds,
            "exit": self.process.returncode,
        }
        append_lines(self.run.folder.path.parents[1] / TIMES, [record])

    def failure(self) -> Failure | None:
        """Return the reason why the ended run is not finished; None if it is."""
        code = self.process.returncode
        if code == 0 and finished(self.run):
            return None
        return Failure(self.run, self._last_error() or f"exit code {code}", self.log)

    def _last_error(self) -> str:
        """Return the last error line that this process logged, or else its last line."""
        logged = self.log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        lines = [line.strip() for line in logged if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines or [""])[-1]


class SuiteProgress:
    """The progress of a suite: a bar on a terminal, and a line per run that starts or ends."""

    def __init__(self, runs: Sequence[SuiteRun], unfinished: int) -> None:
        """Show the progress of all `runs`, some of which are unfinished."""
        self._runs, self._unfinished, self._clock = runs, unfinished, time.monotonic()
        self._total = sum(run.config.iterations for run in runs)
        self._at_start = self._done()
        self._bar = ProgressBar(self._total, self._at_start)

    def started(self, process: RunProcess) -> None:
        """Print that a run has started."""
        self._bar.print(f"{process.run}: started, {self._summary()} (log: {process.log})")

    def ended(self, process: RunProcess, failure: Failure | None) -> None:
        """Print that a run has finished, or why it has failed."""
        self._unfinished -= failure is None
        how = f"failed: {failure.reason}" if failure else "finished"
        after = duration(process.seconds)
        self._bar.print(f"{process.run}: {how} after {after}, {self._summary()}")

    def update(self, running: Iterable[SuiteRun]) -> None:
        """Move the bar, if there is one, and name the runs in progress."""
        if self._bar.visible:
            names = ", ".join(map(str, running))
            self._bar.update(self._done(), f"{self._summary()}; {names}")

    def close(self) -> None:
        """Remove the bar from the terminal."""
        self._bar.close()

    def _done(self) -> int:
        """Return the iterations that all runs have done."""
        return sum(min(run.folder.iterations_done(), run.config.iterations) for run in self._runs)

    def _summary(self) -> str:
        done, runs = self._done(), len(self._runs)
        summary = (
            f"{runs - self._unfinished} of {runs} runs and {done} of {self._total} iterations done"
        )
        if self._at_start < done < self._total:
            pace = (time.monotonic() - self._clock) / (done - self._at_start)
            summary += f", {duration(pace * (self._total - done))} left"
        return summary


def carry_out(runs: Sequence[SuiteRun], jobs: int) -> list[Failure]:
    """Finish every run, `jobs` at a time and in their order, and return those that failed.

    A failure stops no other run. On Ctrl-C, or when the terminal closes, all running ones are
    interrupted and KeyboardInterrupt is raised. Raises ConfigError for more jobs than GPUs.
    """
    waiting = deque(run for run in runs if not finished(run))
    free, running, failures = deque(shares(jobs)), {}, []
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # under nohup it stays ignored
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    progress = SuiteProgress(runs, len(waiting))
    try:
        while waiting or running:
            while waiting and free:
                share = free.popleft()
                process = RunProcess(waiting.popleft(), share)
                running[process] = share
                progress.started(process)
            for process in [p for p in running if p.process.poll() is not None]:
                free.append(running.pop(process))
                failures += _ended(process, progress)
            progress.update(process.run for process in running)
            time.sleep(POLL_SECONDS)
    finally:
        progress.close()
        stop(list(running))
    return sorted(failures, key=lambda failure: runs.index(failure.run))


def _ended(process: RunProcess, progress: SuiteProgress) -> list[Failure]:
    process.record()
    failure = process.failure()
    progress.ended(process, failure)
    return [failure] if failure else []


def stop(running: Sequence[RunProcess]) -> None:
    """Interrupt runs; after STOP_SECONDS kill those that are left, with all their processes."""
    families = [p for run in running for p in _family(run.process.pid)]
    for run in running:
        # SIGTERM means the same to `train` as SIGINT, which a shell's background jobs ignore.
        run.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for run in running:
        try:
            run.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            for process in families:
                if process.is_running():
                    process.kill()
            run.process.wait()
        run.record()


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants; [] if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
