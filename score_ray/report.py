"""What a run leaves to read: lines of JSON, text files, a plot, a page, and the screen.

The jsonl files are the record; everything else is derived from them and can be made again
from the run folder alone.
"""

import base64
import html
import io
import json
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from score_ray.types import GradedEpisode

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#555555"  # Okabe and Ito's colours
RATES = ("acc_t1", "acc_t2", "delta", "i_to_c", "c_to_i")


def read_jsonl(path: Path) -> list[dict]:
    """The records of a file; a last line that a killed run left half-written is dropped."""
    if not path.is_file():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


class Reporter:
    """Writes the run folder and the progress display; `resume_at` updates are already done."""

    def __init__(self, folder: Path, total_iterations: int, resume_at: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._keep("metrics.jsonl", lambda r: r["iteration"] < resume_at)
        self._keep("generations.jsonl", lambda r: r["iteration"] < resume_at)
        self._keep("evals.jsonl", lambda r: resume_at and r["iteration"] <= resume_at)
        _rewrite(folder / "generations.txt", _transcripts(read_jsonl(folder / "generations.jsonl")))
        _rewrite(folder / "accuracies.txt", _accuracies(read_jsonl(folder / "evals.jsonl")))
        self._total = total_iterations
        self._terminal = sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            disable=not self._terminal,
        )
        self._progress.start()
        self._bar = self._progress.add_task("starting", total=total_iterations, completed=resume_at)

    def iteration(self, record: dict) -> None:
        """One line of metrics.jsonl, one step of the bar."""
        self._append("metrics.jsonl", record)
        line = (
            f"{record['stage']}  t1 {record['train/acc_t1']:.3f}  "
            f"t2 {record.get('train/acc_t2', 0.0):.3f}  delta {record['train/delta']:+.3f}  "
            f"kl {record['kl/t1']:.3f}  {record['time/iteration']:.1f} s"
        )
        self._progress.update(self._bar, advance=1, description=line)
        if not self._terminal:
            self.note(f"[{record['iteration'] + 1:4d}/{self._total}] {line}")

    def evaluation(self, record: dict, label: str) -> None:
        """One line of evals.jsonl, of accuracies.txt and of the screen."""
        self._append("evals.jsonl", record)
        with (self._folder / "accuracies.txt").open("a") as file:
            file.write(_accuracies([record]))
        rates = "  ".join(f"{k} {record[k]:.3f}" for k in RATES if k in record)
        self.note(f"evaluation ({label}, n={record['n']}): {rates}")

    def generations(self, graded: Sequence[GradedEpisode], iteration: int, limit: int) -> None:
        """The first transcripts of an iteration."""
        records = [_generation(g, iteration) for g in graded[:limit]]
        for record in records:
            self._append("generations.jsonl", record)
        with (self._folder / "generations.txt").open("a") as file:
            file.write(_transcripts(records))

    def note(self, message: str) -> None:
        """A line above the bar."""
        self._progress.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the screen as it is."""
        self._progress.stop()

    def _append(self, name: str, record: dict) -> None:
        with (self._folder / name).open("a") as file:
            file.write(json.dumps(record) + "\n")

    def _keep(self, name: str, wanted) -> None:
        path = self._folder / name
        kept = [r for r in read_jsonl(path) if wanted(r)]
        _rewrite(path, "".join(json.dumps(r) + "\n" for r in kept))


def results_table(evals: Sequence[dict], labels: Sequence[str]) -> Table:
    """The evaluations side by side."""
    table = Table("weights", "t1", "t2", "delta", "i->c", "c->i", title="greedy, held-out problems")
    for record, label in zip(evals, labels, strict=True):
        table.add_row(label, *(f"{record.get(key, 0.0):.3f}" for key in RATES))
    return table


def plot_accuracy(metrics: Sequence[dict], evals: Sequence[dict]) -> bytes:
    """Accuracy over training as a PNG: lines are training, markers greedy evaluations."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    done = [r["iteration"] + 1 for r in metrics]
    for key, colour, name in (("acc_t1", BLUE, "attempt 1"), ("acc_t2", VERMILLION, "attempt 2")):
        axes.plot(done, [r.get(f"train/{key}", 0) for r in metrics], color=colour, alpha=0.5, lw=1)
        points = [(r["iteration"], r[key]) for r in evals if key in r]
        axes.plot(*zip(*points, strict=True), color=colour, marker="o", lw=2, label=name)
        axes.axhline(points[0][1], color=colour, ls=":", lw=1)
    for before, after in pairwise(metrics):
        if before["stage"] != after["stage"]:
            axes.axvline(after["iteration"], color=GREY, lw=1)
            axes.text(after["iteration"], 1.01, f" {after['stage']}", color=GREY, fontsize=9)
    axes.set(xlabel="iteration", ylabel="accuracy", ylim=(0, 1))
    axes.set_title("thin: training samples   markers: greedy evaluation   dotted: base", fontsize=9)
    axes.legend(frameon=False, loc="lower right")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150)
    return out.getvalue()


def write_report(folder: Path) -> None:
    """Write accuracy.png and report.html; FileNotFoundError for a folder without a run."""
    metrics = read_jsonl(folder / "metrics.jsonl")
    evals = read_jsonl(folder / "evals.jsonl")
    if not metrics or not evals:
        raise FileNotFoundError(f"{folder}: holds no metrics.jsonl and evals.jsonl of a run")
    picture = plot_accuracy(metrics, evals)
    (folder / "accuracy.png").write_bytes(picture)
    generations = read_jsonl(folder / "generations.jsonl")
    body = "\n".join(
        [
            f"<h1>{html.escape(folder.name)}</h1>",
            f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}">',
            "<h2>Evaluations</h2>",
            _html_table(["iteration", "n", *RATES], evals),
            "<h2>Seconds per iteration</h2>",
            _html_table(["phase", "mean", "share"], phase_times(metrics)),
            "<h2>Transcripts</h2>",
            f"<pre>{html.escape(_transcripts(generations[:3] + generations[-3:]))}</pre>",
            "<h2>Config</h2>",
            f"<pre>{html.escape((folder / 'config.yaml').read_text())}</pre>",
        ]
    )
    (folder / "report.html").write_text(PAGE.replace("{body}", body))


def phase_times(metrics: Sequence[dict]) -> list[dict]:
    """Mean seconds of every phase, and its share of the iteration."""
    keys = [k for k in metrics[0] if k.startswith("time/")]
    means = {k: sum(r[k] for r in metrics) / len(metrics) for k in keys}
    return [
        {"phase": k.removeprefix("time/"), "mean": v, "share": v / means["time/iteration"]}
        for k, v in means.items()
    ]


PAGE = """<!doctype html><meta charset="utf-8"><title>score_ray</title>
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;
padding:0 1rem}img{max-width:100%;background:#fff}td,th{padding:.1rem .8rem;text-align:right}
pre{white-space:pre-wrap}</style>
{body}
"""


def _html_table(columns: Sequence[str], records: Sequence[dict]) -> str:
    def cell(value: object) -> str:
        return (
            f"<td>{value:.3f}</td>"
            if isinstance(value, float)
            else f"<td>{html.escape(str(value))}</td>"
        )

    head = "".join(f"<th>{html.escape(c)}</th>" for c in columns)
    rows = "".join(f"<tr>{''.join(cell(r.get(c, '')) for c in columns)}</tr>" for r in records)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _generation(graded: GradedEpisode, iteration: int) -> dict:
    episode = graded.episode
    return {
        "iteration": iteration,
        "problem": episode.problem.index,
        "sample": episode.sample,
        "question": episode.problem.question,
        "answer": episode.problem.answer,
        "attempts": [a.text for a in episode.attempts],
        "finish": [a.finish.value for a in episode.attempts],
        "verdicts": [v.value for v in graded.verdicts],
    }


def _transcripts(records: Sequence[dict]) -> str:
    parts = []
    for r in records:
        parts.append(
            f"=== iteration {r['iteration']}, problem {r['problem']} (answer {r['answer']})"
        )
        parts.append(r["question"])
        for i, (text, verdict) in enumerate(zip(r["attempts"], r["verdicts"], strict=True), 1):
            parts.append(f"--- attempt {i}: {verdict}\n{text}")
    return "\n".join([*parts, ""]) if parts else ""


def _accuracies(evals: Sequence[dict]) -> str:
    return "".join(
        f"iteration {r['iteration']}: "
        + ", ".join(f"{k} {r[k]:.4f}" for k in RATES if k in r)
        + f" (n={r['n']})\n"
        for r in evals
    )


def _rewrite(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(text)
    os.replace(unfinished, path)
