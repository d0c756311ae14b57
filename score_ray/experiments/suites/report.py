"""report.html and results.md of a suite, made from its run folders alone, whole or not yet."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from score_ray.experiments.figures.figures import Series, draw, figure_html
from score_ray.experiments.suites.machine import describe
from score_ray.experiments.suites.runner import TIMES
from score_ray.experiments.suites.suite import Claim, Suite, SuiteRun, finished, iterations_done
from score_ray.experiments.suites.tables import (
    LESS_IS_BETTER,
    SHOWN,
    TITLES,
    Results,
    Row,
    Settled,
    accuracy_rows,
    budget_rows,
    comparison_rows,
    flip_rows,
    gather,
    interval,
    settled_claims,
    short_p,
    unequal_budgets,
)
from score_ray.reporting.html import html_page, html_table
from score_ray.reporting.reporter import duration
from score_ray.reporting.run_folder import Record, read_jsonl, replace_file

ACCURACY = ("variant", *(TITLES[metric] for metric in SHOWN), "seeds")
COMPARISON = ("metric", "difference of", "points [95 %]", "seeds", "p", "p (Holm)")
FLIPS = ("variant", "seed", "problems", "fixed", "broken", "p")
BUDGET = ("variant", "updates", "attempts sampled", "tokens sampled", "tokens trained",
          "in iterations", "wall time")  # fmt: skip
FIGURES = "figures"  # in a suite's folder
HOW_MEASURED = (
    "Greedy evaluation of the model that each run leaves, in percent of all test problems: mean "
    "over seeds ± half the width of the 95 % t-interval."
)
HOW_COMPARED = (
    "Differences in percentage points with their 95 % intervals. Paired t-tests over seeds; "
    "where one side is the base model, which no seed changes, a one-sample t-test against it. "
    "Holm's correction is over the tests of one metric."
)
HOW_FLIPPED = (
    "How many answers the second attempt fixed and broke, and the exact two-sided p of "
    "McNemar's test that it does both alike."
)


@dataclass(frozen=True, slots=True)
class Part:
    """A heading with what stands under it, for both files."""

    title: str
    lines: Sequence[str] = ()
    columns: Row = ()
    rows: Sequence[Row] = ()
    items: Sequence[str] = ()  # a list of sentences
    figures: str = ""  # HTML, for the page alone


def write_suite_report(suite: Suite, runs: Sequence[SuiteRun], folder: Path) -> int:
    """Write report.html and results.md from what is finished; how many runs are missing."""
    times = read_jsonl(folder / TIMES)
    results = gather(suite, runs, times)
    missing = [run for run in runs if not finished(run)]
    parts = _parts(results, missing, len(runs), times, _figures(suite, runs, folder / FIGURES))
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "results.md", markdown(suite.name, parts).encode(errors="replace"))
    replace_file(folder / "report.html", page(suite.name, parts).encode(errors="replace"))
    return len(missing)


def _figures(suite: Suite, runs: Sequence[SuiteRun], out: Path) -> str:
    """The figures of the variants that the suite shows, base models aside: all series have one."""
    series = []
    for variant in suite.figures:
        done = [r for r in runs if r.variant == variant and r.config.iterations and finished(r)]
        if done:
            series.append(Series(suite.label_of(variant), tuple(run.folder for run in done)))
    return "\n".join(map(figure_html, draw(series, out))) if series else ""


def _parts(
    results: Results,
    missing: Sequence[SuiteRun],
    planned: int,
    times: Sequence[Record],
    figures: str,
) -> list[Part]:
    done = f"{planned - len(missing)} of {planned} runs are finished."
    took = f" The runs took {duration(wall_seconds(times))}." if times else ""
    return [
        Part("Results", [done + took, HOW_MEASURED], ACCURACY, accuracy_rows(results)),
        Part("Figures", figures=figures),
        _claims(results),
        Part("Comparisons", [HOW_COMPARED], COMPARISON, comparison_rows(results)),
        Part("Within each run", [HOW_FLIPPED], FLIPS, flip_rows(results)),
        Part("Budget", _budget_lines(results), BUDGET, budget_rows(results)),
        Part("Missing runs", items=[_missing(run) for run in missing]),
        Part("Machine and versions", columns=("", ""), rows=describe()),
    ]


def _claims(results: Results) -> Part:
    settled, untested = settled_claims(results)
    told = [sentence(results.suite, s) for s in settled]
    waiting = [f"{_claim(results.suite, c)}: not tested, runs are missing." for c in untested]
    return Part("Claims", [_count(settled)] if settled else [], items=told + waiting)


def _count(settled: Sequence[Settled]) -> str:
    found = [t.outcome.value for t in settled]
    return (
        f"{found.count('holds')} of {len(found)} hold, {found.count('reversed')} are reversed, "
        f"{found.count('open')} are open. Holds: p < .05 in the claimed direction; reversed: "
        "p < .05 in the other; open: neither."
    )


def sentence(suite: Suite, settled: Settled) -> str:
    """A claim and its outcome in words."""
    difference, seeds = settled.difference, settled.difference.n
    if seeds == 1:
        return f"{_claim(suite, settled.claim)}: open; {interval(difference)} points with one seed."
    return (
        f"{_claim(suite, settled.claim)}: {settled.outcome}; {interval(difference)} points, "
        f"{seeds} seeds, p = {short_p(difference.p)}, after Holm {short_p(settled.holm)}."
    ).replace("= <", "<")


def _claim(suite: Suite, claim: Claim) -> str:
    direction = "lower" if claim.metric == LESS_IS_BETTER else "higher"
    source = f" ({claim.source})" if claim.source else ""
    better, than = suite.label_of(claim.better), suite.label_of(claim.than)
    return f"{better} has a {direction} {TITLES[claim.metric]} than {than}{source}"


def _budget_lines(results: Results) -> list[str]:
    lines = ["What each run used, on average over seeds."]
    if other := unequal_budgets(results):
        lines.append(f"Not of the same updates and attempts: {', '.join(other)}.")
    return lines


def _missing(run: SuiteRun) -> str:
    return f"{run}: {iterations_done(run)} of {run.config.iterations} iterations"


def wall_seconds(times: Sequence[Record]) -> float:
    """How long at least one run was being carried on."""
    seconds, end = 0.0, 0.0
    for record in sorted(times, key=lambda r: r["began"]):
        until = record["began"] + record["seconds"]
        seconds += max(0.0, until - max(end, record["began"]))
        end = max(end, until)
    return seconds


def _shown(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part.rows or part.items or part.figures]


def markdown(title: str, parts: Sequence[Part]) -> str:
    """The parts as Markdown, figures aside."""
    blocks = [f"# {title}"]
    for part in _shown(parts):
        if part.rows or part.items:
            blocks += [f"## {part.title}", *part.lines]
        if part.items:
            blocks.append("\n".join(f"- {item}" for item in part.items))
        if part.rows:
            table = [part.columns, tuple("---" for _ in part.columns), *part.rows]
            cells = [[cell.replace("|", r"\|") for cell in row] for row in table]
            blocks.append("\n".join(f"| {' | '.join(row)} |" for row in cells))
    return "\n\n".join(blocks) + "\n"


def page(title: str, parts: Sequence[Part]) -> str:
    """The parts as one self-contained page."""
    name = html.escape(f"score_ray: {title}")
    body = [f"<h1>{name}</h1>"]
    for part in _shown(parts):
        body.append(f"<h2>{html.escape(part.title)}</h2>")
        body += [f"<p>{html.escape(line)}</p>" for line in part.lines]
        if part.figures:
            body.append(part.figures)
        if part.items:
            items = "".join(f"<li>{html.escape(item)}</li>" for item in part.items)
            body.append(f"<ul>{items}</ul>")
        if part.rows:
            body.append(html_table(part.columns, part.rows))
    return html_page(name, body)
