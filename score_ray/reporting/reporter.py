"""A run on the screen and in its folder, while it goes on."""

import re
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean

from rich.table import Table

from score_ray.config.schema import Stage
from score_ray.reporting.alarms import Alarms
from score_ray.reporting.json_lines import Record
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
    ) -> None:
        """Open a run folder at iteration `resume_at`; what a killed run wrote beyond it goes.

        With its `stages` it also watches for the known ways in which training fails.
        Raises ValueError if a .jsonl file is damaged anywhere but in its last line.
        """
        folder.path.mkdir(parents=True, exist_ok=True)
        self._folder, self._total, self._done = folder, total_iterations, resume_at
        self._stages = stages
        self._open()
        self._seconds: deque[float] = deque(maxlen=20)
        self._bar = ProgressBar(total_iterations, resume_at, quiet)

    def iteration(self, record: dict[str, float | int | str]) -> None:
        """Append an iteration's metrics to metrics.jsonl, and show them."""
        self._folder.append_metrics(record)
        for alarm in self._alarms.watch(record):
            self.event("alarm", alarm.kind, alarm.message)
        line, done = progress_line(record, self._total), int(record["iteration"]) + 1
        self._done = done
        if not self._bar.visible:
            self._bar.print(line)
            return
        self._seconds.append(float(record.get("time/iteration", 0.0)))
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
        """Write how the problems of an evaluation after `done` updates were answered."""
        self._folder.write_answers(graded, done)

    def event(self, kind: str, who: str, what: str, **numbers: float) -> None:
        """Append what happened to a process of the run to events.jsonl; show it."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"time": time, "iteration": self._done, "kind": kind, "who": who, "what": what}
        self._folder.append_event({**record, **numbers})
        after = f" after {duration(numbers['seconds'])}" if "seconds" in numbers else ""
        self._bar.print(f"{who}: {what}{after}")

    def checkpoint_fault(self, what: str) -> None:
        """Tell of a damaged checkpoint."""
        self.event("checkpoint", "checkpoint", what)

    def rewind(self, iteration: int) -> None:
        """Go back to where `iteration` updates have been made; events stay, they happened."""
        self._done = iteration
        self._open()
        self._bar.update(iteration)

    def note(self, message: str) -> None:
        """Print a message, above the bar if there is one."""
        self._bar.print(message)

    def close(self) -> None:
        """Take the bar off the terminal; the files are whole after every call already."""
        self._bar.close()

    def _open(self) -> None:
        self._folder.rewind(self._done)
        self._alarms = Alarms(self._stages)
        self._alarms.replay(self._folder.metrics())


def progress_line(record: Record, total: int) -> str:
    """An iteration on one line: how far, stage, accuracies, KL per attempt, seconds."""
    accuracies = values_of(record, "train/acc_t")
    kl = "/".join(short(value) for value in values_of(record, "kl/t"))
    parts = [
        f"[{int(record['iteration']) + 1:>{len(str(total))}}/{total}] {record['stage']}",
        *(f"t{number} {short(value)}" for number, value in enumerate(accuracies, 1)),
    ]
    if "train/delta" in record:
        parts.append(f"delta {short(record['train/delta'], '+')}")
    if kl:
        parts.append(f"kl {kl}")
    if "time/iteration" in record:
        parts.append(f"{record['time/iteration']:.1f} s")
    return "  ".join(parts)


def values_of(record: Record, prefix: str) -> list[float]:
    """The values under prefix1, prefix2, ... as far as they go."""
    values = []
    while (name := f"{prefix}{len(values) + 1}") in record:
        values.append(record[name])
    return values


def short(value: float, sign: str = "") -> str:
    """Three decimals without a leading zero: .312, +.089, 1.000."""
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{sign}.3f}")


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 12 min, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def losses(events: Sequence[Record]) -> str:
    """Events in a sentence: what was lost how often, and the seconds until it was back."""
    parts = []
    for kind in dict.fromkeys(r["kind"] for r in events if r["kind"] != "alarm"):
        lost = [r for r in events if r["kind"] == kind and "seconds" not in r]
        back = [r["seconds"] for r in events if r["kind"] == kind and "seconds" in r]
        times = f"{len(lost)} time{'s' if len(lost) != 1 else ''}"
        took = f" (back after {fmean(back):.1f} s, at most {max(back):.1f} s)" if back else ""
        parts.append(f"{kind.replace('_', ' ')} {times}{took}")
    return f"lost: {', '.join(parts)}" if parts else "nothing was lost"


def result_rows(evals: Sequence[Record], labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The cells of the results table, in the order of RESULT_COLUMNS."""
    return [
        (
            label,
            f"{r['acc_t1']:.1%}",
            f"{r['acc_t2']:.1%}",
            f"{r['delta']:+.1%}",
            f"{r['i_to_c']:.1%}",
            f"{r['c_to_i']:.1%}",
        )
        for r, label in zip(evals, labels, strict=True)
    ]


def results_table(evals: list[Record], labels: list[str]) -> Table:
    """The results table for the terminal; ValueError unless there is one label per record."""
    table = Table()
    for number, name in enumerate(RESULT_COLUMNS):
        table.add_column(name, justify="right" if number else "left", no_wrap=number > 0)
    for label, *cells in result_rows(evals, labels):
        # A label such as "[base]" is text, not markup.
        table.add_row(label.replace("[", r"\["), *cells)
    return table
