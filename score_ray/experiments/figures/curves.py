"""Computes the numbers in the figures: curves, bands over seeds, votes, flips by difficulty."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import binomtest

from score_ray.experiments.figures.series import ReadAnswer, RunRecords
from score_ray.reporting.edit_distance import edit_ratio
from score_ray.reporting.json_lines import Record
from score_ray.reporting.metrics import StepResult
from score_ray.reporting.plot import smooth

BINS = 20  # of the edit-distance ratio, which is from 0 to 1
MOST_LEVELS = 12  # more do not fit into a panel
Curve = Mapping[int, float]  # from x to y
Votes = Sequence[tuple[str, bool]]  # on one problem, in order: an answer, and whether it is correct


@dataclass(frozen=True, slots=True)
class Band:
    """Means over seeds at growing xs, with the lowest and the highest value of a seed."""

    xs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of all problems, and its 95 % Wilson interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Level:
    """The n problems of one difficulty, and the shares that the second attempt fixes and breaks."""

    name: str
    n: int
    i_to_c: Rate
    c_to_i: Rate


def over_seeds(curves: Sequence[Curve]) -> Band | None:
    """Return mean and range over the curves, at the xs that all curves with points share."""
    drawn = [curve for curve in curves if curve]
    shared = set.intersection(*map(set, drawn)) if drawn else set()
    if not shared:
        return None
    xs = sorted(shared)
    columns = [[curve[x] for curve in drawn] for x in xs]
    return Band(tuple(xs), *(tuple(map(f, columns)) for f in (fmean, min, max)))


def training_curve(steps: Sequence[StepResult], metric: Callable[[StepResult], float]) -> Curve:
    """Return a metric over the updates made, smoothed as in accuracy.png; nan is left out."""
    points = [(s.iteration, y) for s in steps if not math.isnan(y := metric(s))]
    values = smooth([y for _, y in points], len(points) // 12)
    return {x: y for (x, _), y in zip(points, values, strict=True)}


def evaluation_curve(evals: Sequence[Record], name: str) -> Curve:
    """Return a rate over the updates made before each evaluation."""
    return {r["iteration"]: r[name] for r in evals if name in r}


def changed_curve(run: RunRecords) -> Curve:
    """Return the share of second attempts with another answer, by the updates made."""
    return {
        done: changed_share(records, run.read_answer)
        for done, records in run.answers.items()
        if records
    }


def changed_training_curve(run: RunRecords) -> Curve:
    """Return the share of changed answers while training; {} where it is not known.

    Training counts changed texts. Their share is that of changed answers only where a text is
    nothing but its answer, which the evaluations show: there both shares are known.
    """
    texts, answers = evaluation_curve(run.evals, "changed"), changed_curve(run)
    both = texts.keys() & answers.keys()
    equal = all(math.isclose(texts[done], answers[done]) for done in both)
    return training_curve(run.steps, lambda s: s.accuracies.changed) if answers and equal else {}


def changed_share(records: Sequence[Record], read_answer: ReadAnswer) -> float:
    """Return the share of problems whose first two attempts give different answers."""
    pairs = [r["attempts"][:2] for r in records]
    return fmean(read_answer(pair[0]) != read_answer(pair[-1]) for pair in pairs)


def attempt_curve(records: Sequence[Record]) -> Curve:
    """Return accuracy by attempt, from 1."""
    tables = [[verdict == "correct" for verdict in r["verdicts"]] for r in records]
    return {i: fmean(column) for i, column in enumerate(zip(*tables, strict=True), 1)}


def edit_histogram(records: Sequence[Record]) -> Curve:
    """Return the share of problems by edit-distance ratio of the first two attempts, in BINS."""
    ratios = [edit_ratio(*r["attempts"][:2]) for r in records]
    # The summand keeps a ratio on the edge of two bins in the upper one, in spite of rounding.
    counts = Counter(min(int(ratio * BINS + 1e-9), BINS - 1) for ratio in ratios)
    return {i: counts[i] / len(ratios) for i in range(BINS)} if ratios else {}


def voting_curves(records: Sequence[Record], read_answer: ReadAnswer) -> tuple[Curve, Curve]:
    """Return a majority vote's accuracy by attempts sampled per problem: parallel, sequential.

    The parallel vote is over first attempts; the sequential one over the second attempts of half
    as many episodes, which cost as much. The numbers of attempts are the powers of 2 that the
    first attempts of every problem suffice for.
    """
    problems: dict[int, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r["problem"], r["sample"])):
        problems.setdefault(record["problem"], []).append(record)
    if not problems:
        return {}, {}
    samples = min(map(len, problems.values()))
    first, second = (
        [
            [(read_answer(r["attempts"][i]), r["verdicts"][i] == "correct") for r in rows[:samples]]
            for rows in problems.values()
        ]
        for i in (0, 1)
    )
    budgets = [2**k for k in range(1, samples.bit_length()) if 2**k <= samples]
    return (
        {budget: voted_accuracy(first, budget) for budget in budgets},
        {budget: voted_accuracy(second, budget // 2) for budget in budgets},
    )


def voted_accuracy(problems: Sequence[Votes], size: int) -> float:
    """Return the mean accuracy of votes of `size`, over all disjoint ones of the samples."""
    return fmean(
        majority_is_right(votes[start : start + size])
        for votes in problems
        for start in range(0, len(votes) - size + 1, size)
    )


def majority_is_right(votes: Votes) -> bool:
    """Return whether the most frequent answer is correct; among equals the first one counts.

    The empty answer is no vote. An answer is right if one of its gradings says so: others may
    have run out of time.
    """
    counts = Counter(answer for answer, _ in votes if answer)
    if not counts:
        return False
    winner = counts.most_common(1)[0][0]  # of equal counts it gives the first one seen
    return any(right for answer, right in votes if answer == winner)


def flips_by_level(runs: Sequence[Sequence[Record]]) -> list[Level]:
    """Return what the second attempt fixes and breaks, by level in natural order.

    The answers of several seeds are averaged; the interval is that of one run, because seeds
    share their problems. [] where no level is known, or where there are too many to be shown.
    """
    counts: dict[str, Counter[tuple[bool, bool]]] = {}
    answered = [records for records in runs if records]
    for record in (r for records in answered for r in records if r.get("level")):
        first, second = (verdict == "correct" for verdict in record["verdicts"][:2])
        counts.setdefault(record["level"], Counter())[first, second] += 1
    if len(counts) > MOST_LEVELS:
        return []
    return [
        _level(name, counts[name], len(answered)) for name in sorted(counts, key=natural_sort_key)
    ]


def natural_sort_key(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts the numbers in texts as numbers."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", text)]


def rate(count: float, n: float) -> Rate:
    """Return a share of n and its 95 % Wilson interval, from the nearest whole count."""
    interval = binomtest(round(count), max(1, round(n))).proportion_ci(0.95, "wilson")
    value = count / n
    return Rate(value, min(value, interval.low), max(value, interval.high))


def _level(name: str, counts: Counter[tuple[bool, bool]], runs: int) -> Level:
    n = counts.total() / runs
    fixed, broken = counts[False, True] / runs, counts[True, False] / runs
    return Level(name, round(n), rate(fixed, n), rate(broken, n))
