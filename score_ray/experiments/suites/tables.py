"""Makes tables of a suite's finished runs: accuracies, comparisons, claims, budgets."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from score_ray.experiments.suites.statistics import (
    ClaimOutcome,
    Difference,
    against,
    estimate,
    holm,
    mcnemar,
    outcome,
    paired,
)
from score_ray.experiments.suites.suite import (
    Claim,
    Metric,
    Suite,
    SuiteRun,
    final_evaluation,
    finished,
)
from score_ray.reporting.json_lines import Record
from score_ray.reporting.reporter import duration

TITLES: dict[Metric, str] = {
    "acc_t1": "t1",
    "acc_t2": "t2",
    "delta": "delta",
    "i_to_c": "i->c",
    "c_to_i": "c->i",
    "changed": "changed",
    "edit_ratio": "edit ratio",
}
SHOWN: tuple[Metric, ...] = ("acc_t1", "acc_t2", "delta", "i_to_c", "c_to_i")
SIGNED = "delta"
LESS_IS_BETTER = "c_to_i"
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """The work and time that a run has used, counted in its records."""

    updates: int
    attempts: int
    sampled: int  # tokens
    trained: int  # tokens
    seconds: float  # in iterations
    wall: float  # seconds of its processes while the suite ran them; 0 if unknown


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run: its final evaluation and its budget."""

    run: SuiteRun
    evaluation: Record
    budget: Budget


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """A claim, and the test of it on the finished runs."""

    claim: Claim
    difference: Difference
    holm: float  # p after Holm's correction
    outcome: ClaimOutcome


class SuiteResults:
    """The finished runs of a suite, by variant and seed."""

    def __init__(self, suite: Suite, results: Iterable[RunResult]) -> None:
        self.suite = suite
        self.by_variant: dict[str, dict[int, RunResult]] = {name: {} for name in suite.variants}
        for result in results:
            self.by_variant[result.run.variant][result.run.config.seed] = result

    def values(self, variant: str, metric: str) -> dict[int, float]:
        """Return a metric of a variant by seed."""
        by_seed = self.by_variant[variant].items()
        return {seed: float(result.evaluation[metric]) for seed, result in by_seed}

    def difference(self, ours: str, theirs: str, metric: str) -> Difference | None:
        """Return ours minus theirs, paired by seed; None if there is nothing to compare.

        The seed does not change a variant without updates: greedy evaluation of the base model
        gives one number, which all seeds of the other side are compared with.
        """
        a, b = self.values(ours, metric), self.values(theirs, metric)
        if not a or not b:
            return None
        if self._without_updates(theirs):
            return against(list(a.values()), fmean(b.values()))
        if self._without_updates(ours):
            return against([-value for value in b.values()], -fmean(a.values()))
        return paired(a, b) if a.keys() & b.keys() else None

    def _without_updates(self, variant: str) -> bool:
        return not any(r.run.config.iterations for r in self.by_variant[variant].values())


def gather(suite: Suite, runs: Iterable[SuiteRun], times: Sequence[Record]) -> SuiteResults:
    """Read the finished runs among some; `times` has the seconds of each of their processes."""
    return SuiteResults(suite, (_result(run, times) for run in runs if finished(run)))


def _result(run: SuiteRun, times: Sequence[Record]) -> RunResult:
    steps = run.folder.steps()
    rollout, given = run.config.rollout, bool(run.config.task.attempt_column)
    share = 1.0 if given else rollout.offline_share  # of first attempts that were not sampled
    not_sampled = round(share * rollout.problems) * rollout.samples * len(steps)
    graded = sum(s.episodes.num_attempts for s in steps)
    budget = Budget(
        updates=len(steps),
        attempts=graded - not_sampled,
        sampled=sum(s.episodes.sampled_tokens for s in steps),
        trained=sum(s.trained_tokens for s in steps),
        seconds=sum(s.seconds.get("iteration", 0.0) for s in steps),
        wall=sum(r["seconds"] for r in times if r["run"] == str(run)),
    )
    return RunResult(run, cast(Record, final_evaluation(run)), budget)


def accuracy_rows(results: SuiteResults) -> list[Row]:
    """Return per variant its name, the paper's columns in percent, and the number of seeds."""
    return [
        (
            results.suite.label_of(variant),
            *(_spread(results.values(variant, m).values(), m) for m in SHOWN),
            str(len(by_seed)),
        )
        for variant, by_seed in results.by_variant.items()
        if by_seed
    ]


def comparison_rows(results: SuiteResults) -> list[Row]:
    """Return per metric and other variant the difference, and p before and after Holm."""
    compare, suite = results.suite.compare, results.suite
    if compare is None:
        return []
    rows = []
    for metric in compare.metrics:
        others = [name for name in suite.variants if name != compare.variant]
        differences = {name: results.difference(compare.variant, name, metric) for name in others}
        tested = {name: difference for name, difference in differences.items() if difference}
        corrected = holm([difference.p for difference in tested.values()])
        for (name, difference), p in zip(tested.items(), corrected, strict=True):
            pair = f"{suite.label_of(compare.variant)} minus {suite.label_of(name)}"
            rows.append((TITLES[metric], pair, *_difference_cells(difference, p)))
    return rows


def _difference_cells(difference: Difference, holm_p: float) -> Row:
    ps = ("", "") if difference.n == 1 else (short_p(difference.p), short_p(holm_p))
    return (interval(difference), str(difference.n), *ps)


def claim_results(results: SuiteResults) -> tuple[list[ClaimResult], list[Claim]]:
    """Return the tested claims, by outcome, and the claims that no runs can test yet.

    Those that hold come first, then the reversed, then the open ones. Holm's correction is over
    the claims of one metric.
    """
    claims = [(c, results.difference(c.better, c.than, c.metric)) for c in results.suite.claims]
    tested = []
    for metric in dict.fromkeys(claim.metric for claim, _ in claims):
        family = [(c, d) for c, d in claims if d is not None and c.metric == metric]
        corrected = holm([difference.p for _, difference in family])
        sign = -1 if metric == LESS_IS_BETTER else 1
        tested += [
            ClaimResult(claim, difference, p, outcome(difference, sign))
            for (claim, difference), p in zip(family, corrected, strict=True)
        ]
    tested.sort(key=lambda t: list(ClaimOutcome).index(t.outcome))
    return tested, [claim for claim, difference in claims if difference is None]


def flip_rows(results: SuiteResults) -> list[Row]:
    """Return, per run, the number of answers fixed and broken by attempt 2, and McNemar's p."""
    rows = []
    for variant, by_seed in results.by_variant.items():
        for seed, result in by_seed.items():
            n = int(result.evaluation["n"])
            flips = [round(result.evaluation[name] * n) for name in ("i_to_c", "c_to_i")]
            label = results.suite.label_of(variant)
            rows.append((label, str(seed), str(n), *map(str, flips), short_p(mcnemar(*flips))))
    return rows


def budget_rows(results: SuiteResults) -> list[Row]:
    """Return per variant the budget of a run, on average over seeds."""
    rows = []
    for variant, by_seed in results.by_variant.items():
        used = [result.budget for result in by_seed.values()]
        if used:
            counts = (
                fmean(b.updates for b in used),
                fmean(b.attempts for b in used),
                fmean(b.sampled for b in used),
                fmean(b.trained for b in used),
            )
            wall = fmean(b.wall for b in used)
            rows.append(
                (
                    results.suite.label_of(variant),
                    *(f"{count:,.0f}" for count in counts),
                    duration(fmean(b.seconds for b in used)),
                    duration(wall) if wall else "unknown",
                )
            )
    return rows


def unequal_budgets(results: SuiteResults) -> list[str]:
    """Return the trained variants whose updates or attempts differ from the first one's."""
    used = {
        results.suite.label_of(variant): {
            (r.budget.updates, r.budget.attempts) for r in by_seed.values() if r.budget.updates
        }
        for variant, by_seed in results.by_variant.items()
    }
    trained = {label: budgets for label, budgets in used.items() if budgets}
    first = next(iter(trained.values()), set())
    return [label for label, budgets in trained.items() if budgets != first or len(budgets) > 1]


def _spread(values: Iterable[float], metric: str) -> str:
    over_seeds = estimate(list(values))
    half = "" if math.isinf(over_seeds.half) else f" ± {100 * over_seeds.half:.1f}"
    return f"{100 * over_seeds.mean:{'+' if metric == SIGNED else ''}.1f}{half}"


def interval(difference: Difference) -> str:
    """Return a difference in percentage points, with its 95 % interval if it has one."""
    mean = f"{100 * difference.mean:+.1f}"
    if math.isinf(difference.half):
        return mean
    low, high = difference.mean - difference.half, difference.mean + difference.half
    return f"{mean} [{100 * low:+.1f}, {100 * high:+.1f}]"


def short_p(p: float) -> str:
    """Return a p-value with two digits; very small ones only as a bound."""
    return "< 1e-6" if p < 1e-6 else f"{p:.2g}"
