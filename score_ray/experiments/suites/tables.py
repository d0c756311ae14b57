"""A suite's finished runs in numbers: accuracies, comparisons, claims, budgets, as table rows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from score_ray.experiments.suites.statistics import (
    ClaimOutcome,
    Difference,
    Estimate,
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
from score_ray.reporting.reporter import duration
from score_ray.reporting.run_folder import Record, read_jsonl

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
    """What a run has used, counted in its own records."""

    updates: int
    attempts: int
    sampled: int  # tokens
    trained: int  # tokens
    seconds: float  # in iterations
    wall: float  # of its processes, as long as the suite has run them


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run: its final evaluation and its budget."""

    run: SuiteRun
    evaluation: Record
    budget: Budget


@dataclass(frozen=True, slots=True)
class Settled:
    """A claim and what the finished runs say about it."""

    claim: Claim
    difference: Difference
    holm: float
    outcome: ClaimOutcome


class Results:
    """The finished runs of a suite, by variant and seed."""

    def __init__(self, suite: Suite, found: Iterable[Result]) -> None:
        self.suite = suite
        self.by_variant: dict[str, dict[int, Result]] = {name: {} for name in suite.variants}
        for result in found:
            self.by_variant[result.run.variant][result.run.config.seed] = result

    def values(self, variant: str, metric: str) -> dict[int, float]:
        """A metric of a variant, by seed."""
        found = self.by_variant[variant].items()
        return {seed: float(result.evaluation[metric]) for seed, result in found}

    def difference(self, ours: str, theirs: str, metric: str) -> Difference | None:
        """Ours minus theirs, paired by seed; None while there is nothing to compare.

        A variant without updates has no seeds to speak of: greedy evaluation of the base model
        gives one number, and that is what the other side's seeds are compared with.
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


def gather(suite: Suite, runs: Iterable[SuiteRun], times: Sequence[Record]) -> Results:
    """Read the finished ones of some runs; `times` says how long each process took."""
    return Results(suite, (_result(run, times) for run in runs if finished(run)))


def _result(run: SuiteRun, times: Sequence[Record]) -> Result:
    metrics = read_jsonl(run.folder / "metrics.jsonl")
    rollout, given = run.config.rollout, bool(run.config.task.attempt_column)
    share = 1.0 if given else rollout.offline_share  # of first attempts that were not sampled
    not_sampled = round(share * rollout.problems) * rollout.samples * len(metrics)
    verdicts = sum(v for r in metrics for k, v in r.items() if k.startswith("verdict/"))
    budget = Budget(
        updates=len(metrics),
        attempts=int(verdicts) - not_sampled,
        sampled=int(_sum(metrics, "tokens/sampled")),
        trained=int(_sum(metrics, "tokens/trained")),
        seconds=_sum(metrics, "time/iteration"),
        wall=sum(r["seconds"] for r in times if r["run"] == str(run)),
    )
    return Result(run, cast(Record, final_evaluation(run)), budget)


def _sum(metrics: Sequence[Record], name: str) -> float:
    return sum(record.get(name, 0) for record in metrics)


def accuracy_rows(results: Results) -> list[Row]:
    """Per variant: its name, the paper's columns in percent, and how many seeds."""
    return [
        (
            results.suite.label_of(variant),
            *(_spread(results.values(variant, m).values(), m) for m in SHOWN),
            str(len(found)),
        )
        for variant, found in results.by_variant.items()
        if found
    ]


def comparison_rows(results: Results) -> list[Row]:
    """Per metric and other variant: the difference from it, and p before and after Holm."""
    compare, suite = results.suite.compare, results.suite
    if compare is None:
        return []
    rows = []
    for metric in compare.metrics:
        others = [name for name in suite.variants if name != compare.variant]
        found = {name: results.difference(compare.variant, name, metric) for name in others}
        tested = {name: difference for name, difference in found.items() if difference}
        corrected = holm([difference.p for difference in tested.values()])
        for (name, difference), p in zip(tested.items(), corrected, strict=True):
            pair = f"{suite.label_of(compare.variant)} minus {suite.label_of(name)}"
            rows.append((TITLES[metric], pair, *_difference_cells(difference, p)))
    return rows


def _difference_cells(difference: Difference, holm_p: float) -> Row:
    number = str(difference.n)
    return (
        interval(difference),
        number,
        *(("", "") if difference.n == 1 else (short_p(difference.p), short_p(holm_p))),
    )


def settled_claims(results: Results) -> tuple[list[Settled], list[Claim]]:
    """The claims, those that hold first, then reversed, then open; and those without runs."""
    found = [(c, results.difference(c.better, c.than, c.metric)) for c in results.suite.claims]
    tested = []
    for metric in dict.fromkeys(claim.metric for claim, _ in found):
        family = [(c, d) for c, d in found if d is not None and c.metric == metric]
        corrected = holm([difference.p for _, difference in family])
        sign = -1 if metric == LESS_IS_BETTER else 1
        tested += [
            Settled(claim, difference, p, outcome(difference, sign))
            for (claim, difference), p in zip(family, corrected, strict=True)
        ]
    tested.sort(key=lambda t: list(ClaimOutcome).index(t.outcome))
    return tested, [claim for claim, difference in found if difference is None]


def flip_rows(results: Results) -> list[Row]:
    """Per run: how many answers the second attempt fixed and broke, and McNemar's p."""
    rows = []
    for variant, by_seed in results.by_variant.items():
        for seed, result in by_seed.items():
            n = int(result.evaluation["n"])
            flips = [round(result.evaluation[name] * n) for name in ("i_to_c", "c_to_i")]
            label = results.suite.label_of(variant)
            rows.append((label, str(seed), str(n), *map(str, flips), short_p(mcnemar(*flips))))
    return rows


def budget_rows(results: Results) -> list[Row]:
    """Per variant: what each of its runs has used, on average."""
    rows = []
    for variant, by_seed in results.by_variant.items():
        used = [result.budget for result in by_seed.values()]
        if used:
            wall = fmean(b.wall for b in used)
            rows.append(
                (
                    results.suite.label_of(variant),
                    *(
                        f"{fmean(getattr(b, name) for b in used):,.0f}"
                        for name in ("updates", "attempts", "sampled", "trained")
                    ),
                    duration(fmean(b.seconds for b in used)),
                    duration(wall) if wall else "unknown",
                )
            )
    return rows


def unequal_budgets(results: Results) -> list[str]:
    """Variants with updates that differ from the first such in updates or attempts, in words."""
    used = {
        results.suite.label_of(variant): {
            (r.budget.updates, r.budget.attempts) for r in by_seed.values() if r.budget.updates
        }
        for variant, by_seed in results.by_variant.items()
    }
    trained = {label: found for label, found in used.items() if found}
    first = next(iter(trained.values()), set())
    return [label for label, found in trained.items() if found != first or len(found) > 1]


def _spread(values: Iterable[float], metric: str) -> str:
    found: Estimate = estimate(list(values))
    half = "" if math.isinf(found.half) else f" ± {100 * found.half:.1f}"
    return f"{100 * found.mean:{'+' if metric == SIGNED else ''}.1f}{half}"


def interval(difference: Difference) -> str:
    """A difference in percentage points with its 95 % interval, where it has one."""
    mean = f"{100 * difference.mean:+.1f}"
    if math.isinf(difference.half):
        return mean
    low, high = difference.mean - difference.half, difference.mean + difference.half
    return f"{mean} [{100 * low:+.1f}, {100 * high:+.1f}]"


def short_p(p: float) -> str:
    """Two digits of a p-value, as far as they mean anything."""
    return "< 1e-6" if p < 1e-6 else f"{p:.2g}"
