"""Writes report.html and results.md of a suite from its finished run folders."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from score_ray.experiments.figures.figures import draw
from score_ray.experiments.figures.page import picture_of
from score_ray.experiments.figures.series import Series
from score_ray.experiments.suites.machine import describe
from score_ray.experiments.suites.runner import TIMES
from score_ray.experiments.suites.suite import Claim, Suite, SuiteRun, finished
from score_ray.experiments.suites.tables import (
    LESS_IS_BETTER,
    SHOWN,
    TITLES,
    ClaimResult,
    Row,
    SuiteResults,
    accuracy_rows,
    budget_rows,
    claim_results,
    comparison_rows,
    flip_rows,
    gather,
    interval,
    short_p,
    unequal_budgets,
)
from score_ray.reporting.atomic_files import replace_file
from score_ray.reporting.document import (
    Block,
    BulletList,
    Document,
    Heading,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
)
from score_ray.reporting.json_lines import Record, read_jsonl
from score_ray.reporting.reporter import duration

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
    "McNemar's test that it does both equally often."
)


def write_suite_report(suite: Suite, runs: Sequence[SuiteRun], folder: Path) -> int:
    """Write report.html and results.md from the finished runs; return the number missing."""
    times = read_jsonl(folder / TIMES)
    results = gather(suite, runs, times)
    missing = [run for run in runs if not finished(run)]
    summary = f"{len(runs) - len(missing)} of {len(runs)} runs are finished."
    if times:
        summary += f" The runs took {duration(wall_seconds(times))}."
    document = partial(_document, results, missing, summary)
    page = document(_draw_figures(suite, runs, folder / FIGURES))
    text = document([])  # a Markdown file holds no pictures, and needs no heading for them
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "results.md", to_markdown(text).encode(errors="replace"))
    replace_file(folder / "report.html", to_html(page).encode(errors="replace"))
    return len(missing)


def _draw_figures(suite: Suite, runs: Sequence[SuiteRun], out: Path) -> list[Picture]:
    """Draw the figures of those variants in the suite's `figures` that have been trained."""
    series = []
    for variant in suite.figures:
        done = [r for r in runs if r.variant == variant and r.config.iterations and finished(r)]
        if done:
            series.append(Series(suite.label_of(variant), tuple(run.folder for run in done)))
    return [picture_of(path) for path in draw(series, out)] if series else []


def _document(
    results: SuiteResults, missing: Sequence[SuiteRun], summary: str, pictures: Sequence[Picture]
) -> Document:
    blocks = [
        *_section("Results", [summary, HOW_MEASURED], _table(ACCURACY, accuracy_rows(results))),
        *_section("Figures", [], pictures),
        *_claims_section(results),
        *_section("Comparisons", [HOW_COMPARED], _table(COMPARISON, comparison_rows(results))),
        *_section("Within each run", [HOW_FLIPPED], _table(FLIPS, flip_rows(results))),
        *_section("Budget", _budget_lines(results), _table(BUDGET, budget_rows(results))),
        *_section("Missing runs", [], _bullets([_missing(run) for run in missing])),
        *_section("Machine and versions", [], _table(("", ""), describe())),
    ]
    return Document(results.suite.name, tuple(blocks))


def _section(title: str, sentences: Sequence[str], content: Sequence[Block]) -> list[Block]:
    """Return a heading, sentences and the content they introduce; nothing without content."""
    return [Heading(title), *map(Paragraph, sentences), *content] if content else []


def _table(columns: Row, rows: Sequence[Row]) -> list[Block]:
    return [Table(columns, tuple(rows))] if rows else []


def _bullets(items: Sequence[str]) -> list[Block]:
    return [BulletList(tuple(items))] if items else []


def _claims_section(results: SuiteResults) -> list[Block]:
    tested, untested = claim_results(results)
    sentences = [sentence(results.suite, result) for result in tested]
    sentences += [f"{_claim(results.suite, c)}: not tested, runs are missing." for c in untested]
    return _section("Claims", [_count(tested)] if tested else [], _bullets(sentences))


def _count(tested: Sequence[ClaimResult]) -> str:
    outcomes = [result.outcome.value for result in tested]
    return (
        f"{outcomes.count('holds')} of {len(outcomes)} hold, "
        f"{outcomes.count('reversed')} are reversed, {outcomes.count('open')} are open. "
        "Holds: p < .05 in the claimed direction; reversed: p < .05 in the other; open: neither."
    )


def sentence(suite: Suite, result: ClaimResult) -> str:
    """Return a claim and its outcome in words."""
    claim, difference = _claim(suite, result.claim), result.difference
    if difference.n == 1:
        return f"{claim}: open; {interval(difference)} points with one seed."
    return (
        f"{claim}: {result.outcome}; {interval(difference)} points, {difference.n} seeds, "
        f"p = {short_p(difference.p)}, after Holm {short_p(result.holm)}."
    ).replace("= <", "<")


def _claim(suite: Suite, claim: Claim) -> str:
    direction = "lower" if claim.metric == LESS_IS_BETTER else "higher"
    source = f" ({claim.source})" if claim.source else ""
    better, than = suite.label_of(claim.better), suite.label_of(claim.than)
    return f"{better} has a {direction} {TITLES[claim.metric]} than {than}{source}"


def _budget_lines(results: SuiteResults) -> list[str]:
    lines = ["The work and time of a run, on average over seeds."]
    if other := unequal_budgets(results):
        lines.append(
            f"With other numbers of updates or attempts than the first: {', '.join(other)}."
        )
    return lines


def _missing(run: SuiteRun) -> str:
    return f"{run}: {run.folder.iterations_done()} of {run.config.iterations} iterations"


def wall_seconds(times: Sequence[Record]) -> float:
    """Return the seconds during which at least one run was in progress."""
    seconds, end = 0.0, 0.0
    for record in sorted(times, key=lambda r: r["began"]):
        until = record["began"] + record["seconds"]
        seconds += max(0.0, until - max(end, record["began"]))
        end = max(end, until)
    return seconds
