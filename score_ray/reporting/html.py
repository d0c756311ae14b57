"""report.html: one self-contained page, made from a run folder alone."""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from score_ray.reporting.plot import plot_accuracy
from score_ray.reporting.reporter import RESULT_COLUMNS, losses, result_rows
from score_ray.reporting.run_folder import (
    Record,
    generations_text,
    label_of,
    read_jsonl,
    replace_file,
)

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

    Raises FileNotFoundError if the folder has neither metrics nor evaluations.
    """
    metrics, evals = read_jsonl(folder / "metrics.jsonl"), read_jsonl(folder / "evals.jsonl")
    if not metrics and not evals:
        raise FileNotFoundError(f"{folder}: no iteration in metrics.jsonl, nothing to report")
    evals = [r for r in evals if r["split"] == "test"]
    events = read_jsonl(folder / "events.jsonl")
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
        "<h2>Losses and recoveries</h2>",
        html_events([e for e in events if e["kind"] != "alarm"]),
        "<h2>Alarms</h2>",
        html_alarms([e for e in events if e["kind"] == "alarm"]),
        "<h2>Transcripts</h2>",
        html_transcripts(read_jsonl(folder / "generations.jsonl")),
        f"<h2>Configuration</h2>{html_pre(config_text(folder))}",
    ]
    replace_file(folder / "report.html", html_page(title, body).encode(errors="replace"))


def html_page(title: str, body: Iterable[str]) -> str:
    """A whole page from its escaped title and the parts of its body."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


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


def html_events(events: Sequence[Record], limit: int = 50) -> str:
    """What was lost and how long it took to be back, in sum and one by one."""
    if not events:
        return "<p>None.</p>"
    rows = [
        (r["time"], str(r["iteration"]), r["who"], r["what"], f"{r.get('seconds', '')}")
        for r in events[:limit]
    ]
    more = f"<p>{len(events) - limit} more are in events.jsonl.</p>" if len(events) > limit else ""
    columns = ("time", "after iteration", "who", "what", "seconds")
    return f"<p>{html.escape(losses(events))}</p>{html_table(columns, rows)}{more}"


def html_alarms(alarms: Sequence[Record]) -> str:
    """The known ways of failing that were seen, and when."""
    if not alarms:
        return "<p>None.</p>"
    rows = [(str(a["iteration"]), a["who"], a["what"]) for a in alarms]
    return html_table(("after iteration", "alarm", "what is seen, and what may help"), rows)


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
