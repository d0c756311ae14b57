"""Shows a run on the terminal and records it in its folder, while it goes on."""

import re
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean

from rich.table import Table

from score_ray.config.schema import Stage
from score_ray.reporting.alarms import Alarms
from score_ray.reporting.json_lines import Record
from score_ray.reporting.metrics import StepResult, evaluated_failures, failures_text
from score_ray.reporting.progress_bar import ProgressBar
from score_ray.reporting.run_folder import RunFolder
from score_ray.reporting.transcripts import accuracies_text
from score_ray.types import GradedEpisode

RESULT_COLUMNS = ("weights", "t1", "t2", "delta", "i->c", "c->i")


class Reporter:
    """Writes a run folder while the run goes on, and shows its progress on stderr."""

    def __init__(
        self,
        folder: RunFolder,
        total_iterations: int,
        resume_at: int,
        quiet: bool = False,
        stages: Sequence[Stage] = (),
        rewinds: bool = True,
    ) -> None:
        """Open a run folder at iteration `resume_at`; later records of a killed run are removed.

        If it does not do so at once (`rewinds`), `rewind` has to be called before anything but
        an event is recorded. With `stages` it also watches for the known ways in which training
        fails. Raises ValueError if a .jsonl file is damaged anywhere but in its last line.
        """
        folder.path.mkdir(parents=True, exist_ok=True)
        self._folder, self._total, self._done = folder, total_iterations, resume_at
        self._stages = stages
        if rewinds:
            self._open()
        self._seconds: deque[float] = deque(maxlen=20)
        self._bar = ProgressBar(total_iterations, resume_at, quiet)

    def iteration(self, result: StepResult) -> None:
        """Append an iteration to metrics.jsonl, and show it."""
        self._folder.append_step(result)
        for alarm in self._alarms.watch(result):
            self.event("alarm", alarm.kind, alarm.message)
        line, done = progress_line(result, self._total), result.iteration + 1
        self._done = done
        if not self._bar.visible:
            self._bar.print(line)
            return
        self._seconds.append(result.seconds["iteration"])
        left = duration(fmean(self._seconds) * (self._total - done))
        self._bar.update(done, f"{line}  {left} left")

    def evaluation(self, record: Record, label: str) -> None:
        """Append an evaluation to evals.jsonl (with its label) and accuracies.txt; show it."""
        labelled = {**record, "label": label}
        self._folder.append_evaluation(labelled)
        self._bar.print(accuracies_text([labelled]).rstrip("\n"))

    def generations(self, graded: Sequence[GradedEpisode], iteration: int, limit: int) -> None:
        """Append the first `limit` episodes to generations.jsonl and generations.txt."""
        self._folder.append_generations(graded[:limit], iteration)

    def answers(self, graded: Sequence[GradedEpisode], done: int) -> None:
        """Write the answers of an evaluation after `done` updates."""
        self._folder.write_answers(graded, done)

    def event(self, kind: str, who: str, what: str, **numbers: float) -> None:
        """Append an event to events.jsonl, and show it; `who` is a process or an alarm's kind."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"time": time, "iteration": self._done, "kind": kind, "who": who, "what": what}
        self._folder.append_event({**record, **numbers})
        after = f" after {duration(numbers['seconds'])}" if "seconds" in numbers else ""
        self._bar.print(f"{who}: {what}{after}")

    def checkpoint_fault(self, what: str) -> None:
        """Report a damaged checkpoint as an event."""
        self.event("checkpoint", "checkpoint", what)

    def rewind(self, iteration: int) -> None:
        """Delete the records after `iteration` updates; events stay."""
        self._done = iteration
        self._open()
        self._bar.update(iteration)

    def note(self, message: str) -> None:
        """Print a message, above the bar if there is one."""
        self._bar.print(message)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        self._bar.close()

    def _open(self) -> None:
        self._folder.rewind(self._done)
        self._alarms = Alarms(self._stages)
        self._alarms.replay(self._folder.steps())


def progress_line(result: StepResult, total: int) -> str:
    """Return an iteration as one line: number, stage, accuracies, KL per attempt, seconds."""
    accuracies = result.accuracies
    failed = failures_text([1 - result.episodes.measured_share(i) for i in result.attempts])
    return "  ".join(
        [
            f"[{result.iteration + 1:>{len(str(total))}}/{total}] {result.stage}",
            *(f"t{i} {short(value)}" for i, value in enumerate(accuracies.per_attempt, 1)),
            f"delta {short(accuracies.delta, '+')}",
            f"kl {'/'.join(map(short, result.kl))}",
            f"{result.seconds['iteration']:.1f} s",
            *([failed] if failed else []),
        ]
    )


def short(value: float, sign: str = "") -> str:
    """Return a number with three decimals and no leading zero: .312, +.089, 1.000."""
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{sign}.3f}")


def duration(seconds: float) -> str:
    """Return seconds in words: 42 s, 12 min, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def losses(events: Sequence[Record]) -> str:
    """Return a sentence: how often each kind of process was lost, and replaced after how long."""
    parts = []
    for kind in dict.fromkeys(r["kind"] for r in events if r["kind"] != "alarm"):
        lost = [r for r in events if r["kind"] == kind and "seconds" not in r]
        back = [r["seconds"] for r in events if r["kind"] == kind and "seconds" in r]
        times = f"{len(lost)} time{'s' if len(lost) != 1 else ''}"
        took = f" (back after {fmean(back):.1f} s, at most {max(back):.1f} s)" if back else ""
        parts.append(f"{kind.replace('_', ' ')} {times}{took}")
    return f"lost: {', '.join(parts)}" if parts else "nothing was lost"


def result_rows(evals: Sequence[Record], labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the rows of the results table, with cells in the order of RESULT_COLUMNS."""
    return [
        (
            _with_failures(label, r),
            f"{r['acc_t1']:.1%}",
            f"{r['acc_t2']:.1%}",
            f"{r['delta']:+.1%}",
            f"{r['i_to_c']:.1%}",
            f"{r['c_to_i']:.1%}",
        )
        for r, label in zip(evals, labels, strict=True)
    ]


def _with_failures(label: str, record: Record) -> str:
    """Return a label with what failed: an attempt that was not measured is in no accuracy."""
    failed = failures_text(evaluated_failures(record))
    return f"{label} ({failed})" if failed else label


def results_table(evals: list[Record], labels: list[str]) -> Table:
    """Return the results table for the terminal; ValueError unless each record has a label."""
    table = Table()
    for number, name in enumerate(RESULT_COLUMNS):
        table.add_column(name, justify="right" if number else "left", no_wrap=number > 0)
    for label, *cells in result_rows(evals, labels):
        # A label such as "[base]" is text, not markup.
        table.add_row(label.replace("[", r"\["), *cells)
    return table
