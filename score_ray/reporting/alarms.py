"""Known ways in which training to self-correct fails, recognised from metrics.jsonl alone.

Nothing is stopped: an alarm says what it sees, in numbers, and what one could do about it.
"""

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, takewhile
from statistics import fmean

from score_ray.config.schema import Stage
from score_ray.reporting.json_lines import Record

WINDOW = 10  # iterations of a stage that are averaged: few episodes each make single ones noisy
SUDDEN = 3  # iterations in which a KL runs away: a whole window would tell too late
COPIES = 0.05  # share of changed texts; healthy runs have 0.3 to 0.9, collapsed ones go to 0
ROOM = 0.9  # accuracy from which on repeating the first attempt is what one should do
# How far the first attempt may fall. Gemma 2 2B fell by 0.039 in the paper's own first stage.
FALL = 0.05
SIGMAS = 3.0  # standard errors of a difference of two windows: beyond chance in a long run
KL_LIMIT = 20.0  # nats; at the paper's smallest coefficient, 0.01, a fifth of a correct answer
KL_JUMP = 5.0  # times the window before
KL_FLOOR = 1.0  # nats; a KL below counts as this much, since every run's grows from 0
FLAT = 0.95  # share of groups without a difference: the rest is too few to learn from
# Nats per token between sampler and learner; float32 has 1e-10, bfloat16 1e-3, an update 1e-3.
MISMATCH = 0.05
TRUNCATED = 0.25  # share of attempts cut; a cut answer is seldom right, and trains to be short
OF_EPISODES = re.compile(r"verdict/\w+_t1")  # metrics that add up to an iteration's episodes


@dataclass(frozen=True, slots=True)
class Alarm:
    """What goes wrong, as a word (of an attempt: with its number, as "kl_t2") and in words."""

    kind: str
    message: str


class Alarms:
    """Watches a run, an iteration at a time; `kl_limit` is in nats per attempt."""

    def __init__(self, stages: Sequence[Stage], kl_limit: float = KL_LIMIT) -> None:
        self._rewarded = {stage.name: rewarded_attempts(stage) for stage in stages}
        self._kl_limit = kl_limit
        self._first: list[Record] = []
        self._last: deque[Record] = deque(maxlen=WINDOW + SUDDEN)
        self._stage = ""
        self._on: dict[str, int] = {}  # kind to iterations since it last held

    def watch(self, record: Record) -> list[Alarm]:
        """The alarms that begin with this record.

        One that has begun is not told again, until it has not held for a window, or in
        another stage.
        """
        if record["stage"] != self._stage:
            self._stage = record["stage"]
            self._on.clear()
        self._last.append(record)
        if len(self._first) < WINDOW:
            self._first.append(record)
        held = list(self._held())
        new = [alarm for alarm in held if alarm.kind not in self._on]
        quiet = {kind: n + 1 for kind, n in self._on.items() if n + 1 < WINDOW}
        self._on = quiet | {alarm.kind: 0 for alarm in held}
        return new

    def replay(self, records: Iterable[Record]) -> list[Alarm]:
        """Go to the state after these records, and tell their alarms: for a resume."""
        return [alarm for record in records for alarm in self.watch(record)]

    def _held(self) -> Iterator[Alarm]:
        last = list(self._last)
        window = [r for r in last[-WINDOW:] if r["stage"] == self._stage]
        yield from non_finite(last[-1])
        yield from kl_blown_up(last, self._kl_limit)
        yield from mismatched(last)
        if len(window) == WINDOW:
            yield from chain(copies(window), sandbagging(self._first, window), truncation(window))
            yield from flat_reward(window, self._rewarded.get(self._stage, ()))


def rewarded_attempts(stage: Stage) -> tuple[int, ...]:
    """The attempts, from 1, whose rewards a stage compares within a group; none if it imitates."""
    if stage.learn != "reinforce":
        return ()
    return tuple(i for i, weight in enumerate(stage.reward, 1) if weight or stage.bonus)


def non_finite(record: Record) -> Iterator[Alarm]:
    """The update has no number for a result."""
    bad = [n for n in ("loss", "grad_norm") if not math.isfinite(record.get(n, 0.0))]
    if bad:
        yield Alarm(
            "non_finite",
            f"{' and '.join(f'{name} is {record[name]}' for name in bad)} in iteration "
            f"{record['iteration']}; the weights may be spoilt. Go back to a checkpoint, with a "
            "lower learner.learning_rate or learner.max_grad_norm, or model.dtype float32",
        )


def copies(window: Sequence[Record]) -> Iterator[Alarm]:
    """The second attempt repeats the first, though it is not right yet."""
    changed, right = mean(window, "train/changed"), mean(window, "train/acc_t2")
    if changed < COPIES and right < ROOM:
        yield Alarm(
            "copy",
            f"the second attempt copies the first: {changed:.1%} differ over {WINDOW} iterations, "
            f"though only {right:.1%} are right. A larger bonus pays for a change to the better; "
            "a longer first stage, with a higher kl on the first attempt, parts the two",
        )


def sandbagging(first: Sequence[Record], window: Sequence[Record]) -> Iterator[Alarm]:
    """An attempt gets worse, so that the next one can be an improvement."""
    for i in numbers(window[-1], "train/acc_t"):
        (was, now), (next_was, next_now) = (
            [mean(records, f"train/acc_t{n}") for records in (first, window)] for n in (i, i + 1)
        )
        fall, rise = was - now, (next_now - now) - (next_was - was)
        chance = [error(r, f"train/acc_t{n}") for r in (first, window) for n in (i, i + 1)]
        # Attempts of an episode go up and down together: their difference errs by less.
        margin = max(FALL, SIGMAS * math.hypot(*chance))
        if fall > margin and rise > margin:
            yield Alarm(
                f"sandbagging_t{i}",
                f"attempt {i} gets worse, which leaves more to correct: {now:.1%} right over "
                f"{WINDOW} iterations, {was:.1%} at the run's start; the gain of the next attempt "
                f"is {next_now - now:+.1%}, from {next_was - was:+.1%}. Reward attempt {i}, raise "
                "its kl, or lower the bonus",
            )


def kl_blown_up(last: Sequence[Record], limit: float) -> Iterator[Alarm]:
    """An attempt is far from the reference, or leaves it all at once."""
    before, now = last[:-SUDDEN], last[-SUDDEN:]
    for i in numbers(last[-1], "kl/t") if len(now) == SUDDEN else ():
        was, nats = mean(before, f"kl/t{i}"), mean(now, f"kl/t{i}")
        jumped = len(before) == WINDOW and nats > KL_JUMP * max(was, KL_FLOOR)
        if nats > limit or jumped:
            grew = f", and was at {was:.2f} in the {WINDOW} before" if jumped else ""
            yield Alarm(
                f"kl_t{i}",
                f"attempt {i} is {nats:.1f} nats from the reference over {SUDDEN} iterations{grew}"
                f" (limit {limit:g}). Raise the stage's kl for it, or lower learner.learning_rate",
            )


def mismatched(last: Sequence[Record]) -> Iterator[Alarm]:
    """What was drawn is far from what the learner would have drawn."""
    nats = mean(last[-SUDDEN:], "mismatch/kl") if len(last) >= SUDDEN else math.nan
    if nats > MISMATCH:
        most = max(record["mismatch/sampled_max_abs"] for record in last[-SUDDEN:])
        yield Alarm(
            "mismatch",
            f"the sampler is {nats:.3f} nats per token from the learner over {SUDDEN} iterations "
            f"(limit {MISMATCH:g}; a single token by up to {most:.1f}): what is learned from is "
            "not the policy's own. Set learner.max_importance, which corrects for some of it; "
            "with rollout.overlap, lower learner.learning_rate; else try model.dtype float32",
        )


def flat_reward(window: Sequence[Record], rewarded: Sequence[int]) -> Iterator[Alarm]:
    """No group has a better and a worse episode, so that nothing says what to do more of."""
    shares = [mean(window, f"train/flat_t{i}") for i in rewarded]
    if shares and all(share > FLAT for share in shares):
        rewards = ", ".join(f"t{i} {mean(window, f'train/reward_t{i}'):.3f}" for i in rewarded)
        yield Alarm(
            "flat_reward",
            f"nothing to learn from: {min(shares):.1%} of groups have equal rewards over {WINDOW} "
            f"iterations (mean {rewards}). Take problems that are solved sometimes, more "
            "rollout.samples, or a higher rollout.temperature; where rewards are near 0, look "
            "in generations.txt whether right answers are taken for wrong",
        )


def truncation(window: Sequence[Record]) -> Iterator[Alarm]:
    """Many attempts end because they must."""
    for i in numbers(window[-1], "train/truncated_t"):
        if (share := mean(window, f"train/truncated_t{i}")) > TRUNCATED:
            yield Alarm(
                f"truncation_t{i}",
                f"attempt {i}: {share:.1%} are cut at the token limit over {WINDOW} iterations. "
                "Raise rollout.max_tokens (and model.max_length), or ask for shorter answers",
            )


def error(records: Sequence[Record], name: str) -> float:
    """The standard error of a window's accuracy: of its episodes, or of its iterations if larger.

    Episodes of one problem are alike, so that iterations scatter more than their number says.
    """
    accuracy = mean(records, name)
    scatter = sum((r.get(name, math.nan) - accuracy) ** 2 for r in records) / (len(records) - 1)
    episodes = sum(n for r in records for k, n in r.items() if OF_EPISODES.fullmatch(k))
    binomial = accuracy * (1 - accuracy) / episodes if episodes else 0.0
    return math.sqrt(max(scatter / len(records), binomial))


def mean(records: Sequence[Record], name: str) -> float:
    """A metric's mean; nan, which is never beyond a threshold, unless all records have it."""
    return fmean(r.get(name, math.nan) for r in records) if records else math.nan


def numbers(record: Record, prefix: str) -> Iterator[int]:
    """1, 2, ... as far as the record has the prefix with that number."""
    return takewhile(lambda i: f"{prefix}{i}" in record, count(1))
