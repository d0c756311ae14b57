"""The run folder's records (JSON lines), and everything readable that is made from them.

The .jsonl files are the truth: generations.txt, accuracies.txt, accuracy.png and report.html
are derived from them and can be made again at any time.
"""

import base64
import html
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from score_ray.types import GradedEpisode

Record = dict[str, Any]

# Okabe and Ito's palette: told apart with every common colour blindness.
COLOURS = {"t1": "#0072B2", "t2": "#D55E00"}
RESULT_COLUMNS = ("weights", "t1", "t2", "delta", "i->c", "c->i")


class Reporter:
    """Writes a run folder while the run goes on, and shows its progress on stderr."""

    def __init__(
        self, folder: Path, total_iterations: int, resume_at: int, quiet: bool = False
    ) -> None:
        """Open a run folder at iteration `resume_at`; what a killed run wrote beyond it goes.

        Raises ValueError if a .jsonl file is damaged anywhere but in its last line.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._total = folder, total_iterations
        rewind(folder, resume_at)
        self._seconds: deque[float] = deque(maxlen=20)
        self._console = Console(stderr=True, quiet=quiet)
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            columns = BarColumn(bar_width=20), TextColumn("{task.description}", markup=False)
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("starting", total=total_iterations, completed=resume_at)
            self._bar.start()

    def iteration(self, record: dict[str, float | int | str]) -> None:
        """Append an iteration's metrics to metrics.jsonl, and show them."""
        append_lines(self._folder / "metrics.jsonl", [record])
        line, done = progress_line(record, self._total), int(record["iteration"]) + 1
        if self._bar is None:
            self._say(line)
            return
        self._seconds.append(float(record.get("time/iteration", 0.0)))
        left = duration(fmean(self._seconds) * (self._total - done))
        self._bar.update(self._task, completed=done, description=f"{line}  {left} left")

    def evaluation(self, record: Record, label: str) -> None:
        """Append an evaluation to evals.jsonl (with its label) and accuracies.txt; show it."""
        labelled = {**record, "label": label}
        append_lines(self._folder / "evals.jsonl", [labelled])
        line = accuracies_text([labelled])
        append_text(self._folder / "accuracies.txt", line)
        self._say(line.rstrip("\n"))

    def generations(self, graded: Sequence[GradedEpisode], iteration: int, limit: int) -> None:
        """Append the first `limit` episodes to generations.jsonl and generations.txt."""
        records = [transcript(g, iteration) for g in graded[:limit]]
        append_lines(self._folder / "generations.jsonl", records)
        append_text(self._folder / "generations.txt", generations_text(records))

    def note(self, message: str) -> None:
        """Print a message, above the bar if there is one."""
        self._say(message)

    def close(self) -> None:
        """Take the bar off the terminal; the files are whole after every call already."""
        if self._bar is not None:
            self._bar.stop()

    def _say(self, line: str) -> None:
        # A log line is never wrapped, and brackets in it are no markup.
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


# The records.


def read_jsonl(path: Path) -> list[Record]:
    """The records of a file, without a last line that a kill left half-written; [] if absent.

    Raises ValueError, naming file and line, for damage anywhere else.
    """
    if not path.exists():
        return []
    # Split as bytes: a torn line may end inside a character.
    *whole, last = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(whole, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not a JSON record") from error
    try:
        return [*records, json.loads(last)]
    except ValueError:
        return records


def rewind(folder: Path, resume_at: int) -> None:
    """Bring a run folder back to where `resume_at` updates have been made.

    An evaluation with iteration k is taken after k updates, before the checkpoint of k, so a
    run that resumes at k has it already; only a run from 0 takes its first one (again).
    """
    keep: dict[str, Callable[[Record], bool]] = {
        "metrics": lambda r: r["iteration"] < resume_at,
        "generations": lambda r: r["iteration"] < resume_at,
        "evals": lambda r: r["iteration"] <= resume_at and resume_at > 0,
    }
    kept = {}
    for name, wanted in keep.items():
        path = folder / f"{name}.jsonl"
        kept[name] = [record for record in read_jsonl(path) if wanted(record)]
        replace_file(path, as_lines(kept[name]).encode())
    text = generations_text(kept["generations"])
    replace_file(folder / "generations.txt", text.encode(errors="replace"))
    text = accuracies_text(kept["evals"])
    replace_file(folder / "accuracies.txt", text.encode(errors="replace"))


def as_lines(records: Iterable[Record]) -> str:
    """Records as JSON lines; a NumPy number is written as a float."""
    return "".join(json.dumps(record, default=float) + "\n" for record in records)


def append_lines(path: Path, records: Iterable[Record]) -> None:
    """Append records to a .jsonl file; they are with the operating system on return."""
    append_text(path, as_lines(records))


def append_text(path: Path, text: str) -> None:
    """Append text to a file."""
    with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(text)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader, or a kill, meets the old one or the new one."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def transcript(graded: GradedEpisode, iteration: int) -> Record:
    """A line of generations.jsonl."""
    episode = graded.episode
    return {
        "iteration": iteration,
        "problem": episode.problem.index,
        "sample": episode.sample,
        "question": episode.problem.question,
        "answer": episode.problem.answer,
        "attempts": [attempt.text for attempt in episode.attempts],
        "verdicts": [verdict.value for verdict in graded.verdicts],
        "finish": [attempt.finish.value for attempt in episode.attempts],
    }


# The text files and lines, each a pure function of the records.


def generations_text(records: Sequence[Record]) -> str:
    """generations.txt of these records; that of a longer list starts with it."""
    parts = []
    for r in records:
        head = f"iteration {r['iteration']}  problem {r['problem']}  sample {r['sample']}"
        parts.append(f"===== {head} =====\nQuestion: {r['question']}\nGold answer: {r['answer']}\n")
        rows = zip(r["attempts"], r["verdicts"], r["finish"], strict=True)
        for number, (text, verdict, finish) in enumerate(rows, 1):
            parts.append(f"----- attempt {number}: {verdict} (finish: {finish}) -----\n{text}\n")
        parts.append("\n")
    return "".join(parts)


def accuracies_text(evals: Sequence[Record]) -> str:
    """accuracies.txt of these evaluations, a line each; that of a longer list starts with it."""
    return "".join(
        f"{label_of(r)}  {r['task']}/{r['split']} n {r['n']} after {r['iteration']} updates:  "
        f"t1 {r['acc_t1']:.4f}  t2 {r['acc_t2']:.4f}  delta {r['delta']:+.4f}  "
        f"i->c {r['i_to_c']:.4f}  c->i {r['c_to_i']:.4f}\n"
        for r in evals
    )


def label_of(record: Record) -> str:
    """What an evaluation's weights are called."""
    return str(record.get("label", f"iteration {record['iteration']}"))


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


# The plot.


def plot_accuracy(metrics: list[Record], evals: list[Record], out: Path) -> None:
    """Plot accuracy at each attempt over the updates made, as a PNG.

    The episodes of iteration i come from weights after i updates, so training and
    evaluation share the axis.
    """
    figure = Figure(figsize=(9, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: its global state is not safe in threads
    axes = figure.add_subplot()
    for attempt, colour in COLOURS.items():
        draw_training(axes, metrics, attempt, colour)
        draw_evaluations(axes, evals, attempt, colour)
    draw_stages(axes, metrics)
    task = f"{evals[0]['task']}: " if evals else ""
    axes.set_title(f"{task}accuracy at the first and the second attempt", pad=22)
    axes.set_xlabel("updates")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right center", frameon=False, fontsize=9)
    fresh = out.with_name(out.name + ".tmp")
    figure.savefig(fresh, format="png")
    os.replace(fresh, out)


def draw_training(axes: Axes, metrics: Sequence[Record], attempt: str, colour: str) -> None:
    """An attempt's training accuracy: thin as measured, thick smoothed."""
    name = f"train/acc_{attempt}"
    points = [(r["iteration"], r[name]) for r in metrics if name in r]
    if not points:
        return
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.4)
    # Dashes tell the attempts apart where colour cannot, as in a grey print.
    style = "-" if attempt == "t1" else (0, (5, 1))
    axes.plot(
        xs,
        smooth(ys, len(ys) // 12),
        color=colour,
        linewidth=2.2,
        ls=style,
        label=f"train {attempt}",
    )


def draw_evaluations(axes: Axes, evals: Sequence[Record], attempt: str, colour: str) -> None:
    """An attempt's evaluations as markers, and the base model's as a dotted line."""
    if not evals:
        return
    name, marker = f"acc_{attempt}", "o" if attempt == "t1" else "D"
    split = evals[0]["split"]
    axes.plot(
        [r["iteration"] for r in evals],
        [r[name] for r in evals],
        linestyle="none",
        marker=marker,
        markersize=8,
        color=colour,
        markeredgecolor="white",
        label=f"{split} {attempt}",
        zorder=4,
    )
    base = [r[name] for r in evals if r["iteration"] == 0]
    if base:
        axes.axhline(base[0], color=colour, linestyle=":", linewidth=1.5, label=f"base {attempt}")


def draw_stages(axes: Axes, metrics: Sequence[Record]) -> None:
    """A stage's name above its first iteration, and a line where the stage changes."""
    before = None
    for record in metrics:
        stage, at = record.get("stage"), record["iteration"]
        if stage == before:
            continue
        if before is not None:
            axes.axvline(at, color="0.35", linewidth=1)
        axes.text(at, 1.015, f" {stage}", transform=axes.get_xaxis_transform(), fontsize=9)
        before = stage


def smooth(values: Sequence[float], reach: int) -> list[float]:
    """The mean over `reach` neighbours on each side, or as many as there are at the ends."""
    return [fmean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]


# The page.

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --page: #fff; --line: #ccc; --soft: #f3f3f3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --page: #161616; --line: #444; --soft: #222; }
}
body { color: var(--ink); background: var(--page); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
pre { background: var(--soft); padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere;
  border-radius: 4px; font-size: .85rem; }
"""


def write_report(folder: Path) -> None:
    """Make accuracy.png and the self-contained page report.html from a run folder alone.

    Raises FileNotFoundError if the folder has no metrics.
    """
    metrics, evals = read_jsonl(folder / "metrics.jsonl"), read_jsonl(folder / "evals.jsonl")
    if not metrics:
        raise FileNotFoundError(f"{folder}: no iteration in metrics.jsonl, nothing to report")
    plot_accuracy(metrics, evals, folder / "accuracy.png")
    image = base64.b64encode((folder / "accuracy.png").read_bytes()).decode()
    title = html.escape(f"score_ray: {folder.resolve().name}")
    body = [
        f"<h1>{title}</h1>",
        f'<img alt="Accuracy over updates" src="data:image/png;base64,{image}">',
        "<h2>Results</h2>",
        html_table(RESULT_COLUMNS, result_rows(evals, [label_of(r) for r in evals])),
        "<h2>Time per iteration</h2>",
        html_table(("phase", "mean seconds", "share"), time_rows(metrics)),
        "<h2>Restarts</h2>",
        html_table(("what", "count"), restart_rows(metrics)),
        "<h2>Transcripts</h2>",
        html_transcripts(read_jsonl(folder / "generations.jsonl")),
        f"<h2>Configuration</h2>{html_pre(config_text(folder))}",
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    replace_file(folder / "report.html", page.encode(errors="replace"))


def config_text(folder: Path) -> str:
    """The run's config.yaml, or a word that it is missing."""
    path = folder / "config.yaml"
    return path.read_text(encoding="utf-8") if path.exists() else "config.yaml is missing"


def time_rows(metrics: Sequence[Record]) -> list[tuple[str, ...]]:
    """Per phase: its name, mean seconds, and share of the iteration's time."""
    means = means_of(metrics, "time/")
    whole = means.get("iteration", 0.0)
    return [
        (phase, f"{seconds:.2f}", f"{seconds / whole:.1%}" if whole else "")
        for phase, seconds in means.items()
    ]


def means_of(metrics: Sequence[Record], prefix: str) -> dict[str, float]:
    """The mean of every metric under a prefix, over the iterations that have it."""
    values: dict[str, list[float]] = {}
    for record in metrics:
        for name, value in record.items():
            if name.startswith(prefix):
                values.setdefault(name.removeprefix(prefix), []).append(value)
    return {name: fmean(found) for name, found in values.items()}


def restart_rows(metrics: Sequence[Record]) -> list[tuple[str, ...]]:
    """How often each kind of process was restarted in all iterations together."""
    names = dict.fromkeys(name for r in metrics for name in r if name.startswith("restarts/"))
    return [
        (name.removeprefix("restarts/"), f"{sum(r.get(name, 0) for r in metrics):g}")
        for name in names
    ]


def html_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with every cell escaped."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    lines = [f"<table><thead><tr>{head}</tr></thead><tbody>"]
    for row in rows:
        lines.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def html_transcripts(generations: Sequence[Record], limit: int = 3) -> str:
    """A few transcripts of the first and of the last iteration that has any, escaped."""
    if not generations:
        return "<p>None were kept.</p>"
    ends = dict.fromkeys((generations[0]["iteration"], generations[-1]["iteration"]))
    parts = []
    for iteration in ends:
        shown = [r for r in generations if r["iteration"] == iteration][:limit]
        parts.append(f"<h3>Iteration {html.escape(str(iteration))}</h3>")
        parts += [html_pre(generations_text([r]).rstrip("\n")) for r in shown]
    return "\n".join(parts)


def html_pre(text: str) -> str:
    """Text as it stands, escaped."""
    return f"<pre>{html.escape(text)}</pre>"
