"""What the figures show: plain numbers from run folders, before a picture is made of them.

A series is one way of training, a run folder per seed. The base models of all series stand
beside them as series of their own: one, where all runs start from the same model and problems.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from scipy.stats import binomtest

from score_ray.algorithm.metrics import edit_ratio
from score_ray.config.config import load
from score_ray.reporting.plot import smooth
from score_ray.reporting.run_folder import Record, read_jsonl
from score_ray.tasks.registry import answer_of

BINS = 20  # of the edit-distance ratio, which is from 0 to 1
MOST_LEVELS = 12
Answer = Callable[[str], str]
Curve = Mapping[int, float]
Ballots = Sequence[tuple[str, bool]]  # of one problem, in order: an answer, and if it is right


@dataclass(frozen=True, slots=True)
class Series:
    """Run folders that differ in their seed alone, and what they are called in a figure."""

    label: str
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class RunRecords:
    """What a run folder holds for the figures."""

    folder: Path

    @cached_property
    def metrics(self) -> list[Record]:
        """A record per iteration."""
        return read_jsonl(self.folder / "metrics.jsonl")

    @cached_property
    def evals(self) -> list[Record]:
        """A record per evaluation on the test split."""
        return [r for r in read_jsonl(self.folder / "evals.jsonl") if r["split"] == "test"]

    @cached_property
    def answers(self) -> dict[int, list[Record]]:
        """The evaluated problems by the number of updates made."""
        paths = sorted((self.folder / "answers").glob("after_*.jsonl"))
        return {int(path.stem.removeprefix("after_")): read_jsonl(path) for path in paths}

    @cached_property
    def answer(self) -> Answer:
        """How its task reads the answer in a completion."""
        return answer_of(load(self.folder / "config.yaml").task)

    @cached_property
    def origin(self) -> str:
        """What the results of its base model depend on."""
        config = load(self.folder / "config.yaml")
        parts = (config.model.path, config.task, config.prompts, config.rollout.max_tokens)
        return repr(parts)

    def study(self, kind: str, base: bool) -> list[Record]:
        """The extra samples of a kind, "attempts" or "samples"; [] if they were not drawn."""
        who = "base" if base else "model"
        return read_jsonl(self.folder / "study" / f"{kind}_{who}.jsonl")

    def greedy(self, base: bool) -> list[Record]:
        """How the base or the trained model answered greedily, at least twice; [] if unknown.

        The last evaluation of a run is that of the model it leaves.
        """
        done = self.evals[-1]["iteration"] if self.evals and not base else 0
        found = self.answers.get(done, []) if base or done else []
        return [r for r in found or self.study("attempts", base) if len(r["attempts"]) > 1]


@dataclass(frozen=True)
class PlottedSeries:
    """A series, or the base model of some, with its runs; `number` is its place among them."""

    label: str
    runs: tuple[RunRecords, ...]
    number: int
    base: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """Means over seeds at growing xs, with the lowest and the highest seed."""

    xs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share, and its 95 % Wilson interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Level:
    """The problems of one difficulty: how many, and how many of them the second attempt flips."""

    name: str
    n: int
    i_to_c: Rate
    c_to_i: Rate


def series_of(folders: Sequence[Path]) -> list[Series]:
    """A series per run, named after its folder; where names are alike, by where paths differ."""
    names = [folder.resolve().name for folder in folders]
    labels = names if len(set(names)) == len(names) else distinct_parts(folders)
    return [Series(label, (folder,)) for label, folder in zip(labels, folders, strict=True)]


def distinct_parts(folders: Sequence[Path]) -> list[str]:
    """Each path from the first to the last part that not all of them have there."""
    paths = [folder.resolve().parts for folder in folders]
    columns = list(zip(*paths, strict=False))
    same = [len(set(column)) == 1 for column in columns]
    ends = [len(set(c)) == 1 for c in zip(*(reversed(path) for path in paths), strict=False)]
    lead, tail = (*same, False).index(False), (*ends, False).index(False)
    return ["/".join(path[lead : max(len(path) - tail, lead + 1)]) or path[-1] for path in paths]


def entries_of(series: Sequence[Series]) -> list[PlottedSeries]:
    """The base models, then the series in their order. Raises ConfigError for a bad config."""
    given = [
        PlottedSeries(s.label, tuple(map(RunRecords, s.folders)), i) for i, s in enumerate(series)
    ]
    origins: dict[str, list[PlottedSeries]] = {}
    for entry in given:
        origins.setdefault(entry.runs[0].origin, []).append(entry)
    bases = []
    for number, entries in enumerate(origins.values()):
        label = "base model" if len(origins) == 1 else f"base of {entries[0].label}"
        runs = tuple(run for entry in entries for run in entry.runs)
        bases.append(PlottedSeries(label, runs, number, base=True))
    return [*bases, *given]


def over_seeds(curves: Sequence[Curve]) -> Band | None:
    """The mean and range of the curves that have points, where all of these have one."""
    drawn = [curve for curve in curves if curve]
    shared = set.intersection(*map(set, drawn)) if drawn else set()
    if not shared:
        return None
    xs = sorted(shared)
    columns = [[curve[x] for curve in drawn] for x in xs]
    return Band(tuple(xs), *(tuple(map(f, columns)) for f in (fmean, min, max)))


def training_curve(metrics: Sequence[Record], name: str) -> Curve:
    """A metric over the updates made, smoothed as in accuracy.png."""
    points = [(r["iteration"], r[name]) for r in metrics if name in r]
    values = smooth([y for _, y in points], len(points) // 12)
    return {x: y for (x, _), y in zip(points, values, strict=True)}


def evaluation_curve(evals: Sequence[Record], name: str) -> Curve:
    """A rate over the updates made before each evaluation."""
    return {r["iteration"]: r[name] for r in evals if name in r}


def changed_curve(run: RunRecords) -> Curve:
    """The share of second attempts with another answer, by the updates made."""
    return {done: changed(records, run.answer) for done, records in run.answers.items() if records}


def changed_training_curve(run: RunRecords) -> Curve:
    """The same while training, where what a run counts as a change is another answer.

    A run counts other texts. Where a text is more than its answer these are not the same, and
    nearly all texts are others.
    """
    counted, read = evaluation_curve(run.evals, "changed"), changed_curve(run)
    same = all(math.isclose(counted[done], read[done]) for done in counted.keys() & read.keys())
    return training_curve(run.metrics, "train/changed") if read and same else {}


def changed(records: Sequence[Record], answer: Answer) -> float:
    """The share of problems of which the first two attempts give different answers."""
    pairs = [r["attempts"][:2] for r in records]
    return fmean(answer(pair[0]) != answer(pair[-1]) for pair in pairs)


def attempt_curve(records: Sequence[Record]) -> Curve:
    """Accuracy by attempt, from 1."""
    tables = [[verdict == "correct" for verdict in r["verdicts"]] for r in records]
    return {i: fmean(column) for i, column in enumerate(zip(*tables, strict=True), 1)}


def edit_histogram(records: Sequence[Record]) -> Curve:
    """The share of problems by edit-distance ratio of the first two attempts, in bins from 0."""
    ratios = [edit_ratio(*r["attempts"][:2]) for r in records]
    # A ratio on the edge of two bins belongs to the upper one, in spite of rounding.
    counts = Counter(min(int(ratio * BINS + 1e-9), BINS - 1) for ratio in ratios)
    return {i: counts[i] / len(ratios) for i in range(BINS)} if ratios else {}


def voting_curves(records: Sequence[Record], answer: Answer) -> tuple[Curve, Curve]:
    """Accuracy of the majority vote by attempts sampled per problem: parallel and sequential.

    Parallel votes over first attempts; sequential over the second attempts of half as many
    episodes, which cost as much. Budgets are the powers of 2 that every problem's samples can
    fill with first attempts.
    """
    problems: dict[int, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r["problem"], r["sample"])):
        problems.setdefault(record["problem"], []).append(record)
    if not problems:
        return {}, {}
    samples = min(map(len, problems.values()))
    first, second = (
        [
            [(answer(r["attempts"][i]), r["verdicts"][i] == "correct") for r in rows[:samples]]
            for rows in problems.values()
        ]
        for i in (0, 1)
    )
    budgets = [2**k for k in range(1, samples.bit_length()) if 2**k <= samples]
    return (
        {budget: voted_accuracy(first, budget) for budget in budgets},
        {budget: voted_accuracy(second, budget // 2) for budget in budgets},
    )


def voted_accuracy(problems: Sequence[Ballots], votes: int) -> float:
    """The mean accuracy of a vote of so many, over all disjoint votes that the samples allow."""
    return fmean(
        is_right(ballots[start : start + votes])
        for ballots in problems
        for start in range(0, len(ballots) - votes + 1, votes)
    )


def is_right(ballots: Ballots) -> bool:
    """Whether the most frequent answer is right; of several the first seen, "" is no vote.

    An answer is right if one grading of it was: others may have failed for want of time.
    """
    counts = Counter(answer for answer, _ in ballots if answer)
    if not counts:
        return False
    winner = counts.most_common(1)[0][0]  # keeps the order they were seen in
    return any(right for answer, right in ballots if answer == winner)


def levels(runs: Sequence[Sequence[Record]]) -> list[Level]:
    """What the second attempt flips, by level in natural order; runs of several seeds as a mean.

    [] where no level is known, or there are too many to be shown. Rates are of all problems of
    the level; the interval is that of one run, as seeds share their problems.
    """
    found: dict[str, Counter[tuple[bool, bool]]] = {}
    drawn = [records for records in runs if records]
    for record in (r for records in drawn for r in records if r.get("level")):
        first, second = (verdict == "correct" for verdict in record["verdicts"][:2])
        found.setdefault(record["level"], Counter())[first, second] += 1
    if len(found) > MOST_LEVELS:
        return []
    return [
        Level(name, round(counts.total() / len(drawn)), *_flips(counts, len(drawn)))
        for name, counts in sorted(found.items(), key=lambda item: natural(item[0]))
    ]


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts the numbers in texts as numbers."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", text)]


def rate(count: float, n: float) -> Rate:
    """A share of n and its 95 % Wilson interval, at the nearest whole numbers."""
    interval = binomtest(round(count), max(1, round(n))).proportion_ci(0.95, "wilson")
    value = count / n
    return Rate(value, min(value, interval.low), max(value, interval.high))


def _flips(counts: Counter[tuple[bool, bool]], runs: int) -> tuple[Rate, Rate]:
    n = counts.total() / runs
    fixed, broken = (counts[flip] / runs for flip in ((False, True), (True, False)))
    return rate(fixed, n), rate(broken, n)
