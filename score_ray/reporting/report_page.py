"""Writes report.html, one self-contained page, from a run folder alone."""

from collections.abc import Sequence
from statistics import fmean

from score_ray.reporting.atomic_files import replace_file
from score_ray.reporting.document import (
    Block,
    Document,
    Heading,
    Paragraph,
    Picture,
    Preformatted,
    Table,
    to_html,
)
from score_ray.reporting.json_lines import Record
from score_ray.reporting.metrics import TRANSFER, StepResult
from score_ray.reporting.plot import plot_accuracy
from score_ray.reporting.reporter import RESULT_COLUMNS, losses, result_rows
from score_ray.reporting.run_folder import TEST, RunFolder
from score_ray.reporting.transcripts import generations_text, label_of

MOST_EVENTS = 50  # or rows left out, shown; their files have them all
MOST_TRANSCRIPTS = 3  # shown of an iteration


def write_report(folder: RunFolder) -> None:
    """Write accuracy.png and the self-contained page report.html from a run folder alone.

    Raises FileNotFoundError if the folder has neither metrics nor evaluations, and ValueError,
    before anything is written, for a damaged record.
    """
    steps, evals = folder.steps(), folder.evals(TEST)
    if not steps and not evals:
        raise FileNotFoundError(f"{folder}: no iteration in metrics.jsonl, nothing to report")
    document = report_document(folder, steps, evals)  # reads all, before anything is written
    plot_accuracy(steps, evals, folder.accuracy_plot)
    page = to_html(document)
    replace_file(folder.report, page.encode(errors="replace"))


def report_document(
    folder: RunFolder, steps: Sequence[StepResult], evals: Sequence[Record]
) -> Document:
    """Return the report of a run folder; its picture is accuracy.png, drawn by then or later."""
    events = folder.events()
    results = result_rows(evals, [label_of(r) for r in evals])
    blocks = [
        Picture("Accuracy over updates", folder.accuracy_plot),
        Heading("Results"),
        Table(RESULT_COLUMNS, tuple(results)),
        Heading("Time per iteration"),
        Table(("phase", "mean seconds", "share"), tuple(time_rows(steps))),
        Heading("Losses and recoveries"),
        *event_blocks([e for e in events if e["kind"] != "alarm"]),
        Heading("Alarms"),
        alarm_block([e for e in events if e["kind"] == "alarm"]),
        *left_out_blocks(folder.unusable_rows()),
        Heading("Transcripts"),
        *transcript_blocks(folder.generations()),
        Heading("Configuration"),
        Preformatted(config_text(folder)),
    ]
    return Document(folder.path.resolve().name, tuple(blocks))


def config_text(folder: RunFolder) -> str:
    """Return the run's config.yaml, or a sentence that it is missing."""
    path = folder.config_file
    return path.read_text(encoding="utf-8") if path.exists() else "config.yaml is missing"


def time_rows(steps: Sequence[StepResult]) -> list[tuple[str, ...]]:
    """Return per phase: its name, mean seconds, and share of the iteration's time.

    The transfer of weights has no share of its own, since the broadcast's contains it.
    """
    seconds: dict[str, list[float]] = {}
    for step in steps:
        for phase, value in step.all_seconds.items():
            seconds.setdefault(phase, []).append(value)
    means = {phase: fmean(values) for phase, values in seconds.items()}
    whole = means.get("iteration", 0.0)
    return [
        (f"{phase} (in broadcast)", f"{mean:.2f}", "")
        if phase == TRANSFER
        else (phase, f"{mean:.2f}", f"{mean / whole:.1%}" if whole else "")
        for phase, mean in means.items()
    ]


def event_blocks(events: Sequence[Record]) -> list[Block]:
    """Return the losses of processes and the seconds until replacement: a summary and a table."""
    if not events:
        return [Paragraph("None.")]
    columns = ("time", "after iteration", "who", "what", "seconds")
    rows = [
        (r["time"], str(r["iteration"]), r["who"], r["what"], f"{r.get('seconds', '')}")
        for r in events[:MOST_EVENTS]
    ]
    blocks: list[Block] = [Paragraph(losses(events)), Table(columns, tuple(rows))]
    if hidden := len(events[MOST_EVENTS:]):
        blocks.append(Paragraph(f"{hidden} more are in events.jsonl."))
    return blocks


def alarm_block(alarms: Sequence[Record]) -> Block:
    """Return a table of the alarms that the run raised."""
    if not alarms:
        return Paragraph("None.")
    columns = ("after iteration", "alarm", "what is seen, and what may help")
    return Table(columns, tuple((str(a["iteration"]), a["who"], a["what"]) for a in alarms))


def left_out_blocks(rows: Sequence[Record]) -> list[Block]:
    """Return a heading and a table of the rows of the data that were left out, if any were."""
    if not rows:
        return []
    cells = [(r["source"], str(r["row"]), r["reason"]) for r in rows[:MOST_EVENTS]]
    blocks: list[Block] = [
        Heading("Rows left out of the data"),
        Paragraph(f"{len(rows)} rows cannot be used; rows are counted from 0."),
        Table(("data set", "row", "reason"), tuple(cells)),
    ]
    if hidden := len(rows[MOST_EVENTS:]):
        blocks.append(Paragraph(f"{hidden} more are in unusable_rows.jsonl."))
    return blocks


def transcript_blocks(generations: Sequence[Record]) -> list[Block]:
    """Return a few transcripts of the first and of the last iteration that has any."""
    if not generations:
        return [Paragraph("None were kept.")]
    blocks: list[Block] = []
    for iteration in dict.fromkeys((generations[0]["iteration"], generations[-1]["iteration"])):
        records = [r for r in generations if r["iteration"] == iteration][:MOST_TRANSCRIPTS]
        blocks.append(Heading(f"Iteration {iteration}", level=3))
        blocks += [Preformatted(generations_text([r]).rstrip("\n")) for r in records]
    return blocks
