"""Recognises from the metrics the known ways in which training to self-correct fails.

An alarm does not stop the run. Its message has the numbers that caused it, and a remedy.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from score_ray.config.schema import Stage
from score_ray.reporting.metrics import StepResult, value_at
from score_ray.types import Verdict

WINDOW = 10  # iterations of a stage that are averaged, because a single one is noisy
SUDDEN = 3  # iterations averaged for KL and mismatch: a whole window would react too late
COPIES = 0.05  # share of changed texts; healthy runs have 0.3 to 0.9, collapsed ones go to 0
HIGH_ACCURACY = 0.9  # from which on repeating the first attempt is usually right
# The largest harmless fall of the first attempt's accuracy. Gemma 2 2B fell by 0.039 in the
# paper's first stage.
FALL = 0.05
SIGMAS = 3.0  # standard errors; a smaller difference of two windows counts as chance
KL_LIMIT = 20.0  # nats; at the paper's smallest coefficient, 0.01, a fifth of a correct answer
KL_JUMP = 5.0  # times the mean of the window before
KL_FLOOR = 1.0  # nats; a smaller KL before a jump counts as this: every run starts near 0
FLAT = 0.95  # share of groups with equal rewards; above it too few groups give a gradient
# Nats per token between sampler and learner; float32 has 1e-10, bfloat16 1e-3, an update 1e-3.
MISMATCH = 0.05
FAILED = 0.02  # share of measurements that failed; a healthy grader has none
TRUNCATED = 0.25  # share of attempts cut; they are seldom right, so the model learns brevity
FAILURES = {
    Verdict.GRADER_ERROR: "The first error of the grader is shown in full where it occurred: mend "
    "the function of grading.reward, or the data that it fails on",
    Verdict.TIMEOUT: "Raise grading.deadline, or make grading faster; read in generations.txt "
    "which answers it does not come to an end with",
}
Metric = Callable[[StepResult], float]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A failure: its kind (with the number of an attempt, as in "kl_t2"), and a message."""

    kind: str
    message: str


class Alarms:
    """Watches the iterations of a run one by one; `kl_limit` is in nats per attempt."""

    def __init__(self, stages: Sequence[Stage], kl_limit: float = KL_LIMIT) -> None:
        self._rewarded = {stage.name: rewarded_attempts(stage) for stage in stages}
        self._kl_limit = kl_limit
        self._first: list[StepResult] = []
        self._last: deque[StepResult] = deque(maxlen=WINDOW + SUDDEN)
        self._stage = ""
        self._iterations_since: dict[str, int] = {}  # by kind, since it last held

    def watch(self, step: StepResult) -> list[Alarm]:
        """Return the alarms that start with this iteration.

        An alarm is not returned again before its condition was false for a whole window, or
        another stage began.
        """
        if step.stage != self._stage:
            self._stage = step.stage
            self._iterations_since.clear()
        self._last.append(step)
        if len(self._first) < WINDOW:
            self._first.append(step)
        held = list(self._held())
        new = [alarm for alarm in held if alarm.kind not in self._iterations_since]
        quiet = {kind: n + 1 for kind, n in self._iterations_since.items() if n + 1 < WINDOW}
        self._iterations_since = quiet | {alarm.kind: 0 for alarm in held}
        return new

    def replay(self, steps: Iterable[StepResult]) -> list[Alarm]:
        """Watch the iterations before a resume; return their alarms."""
        return [alarm for step in steps for alarm in self.watch(step)]

    def _held(self) -> Iterator[Alarm]:
        last = list(self._last)
        window = [step for step in last[-WINDOW:] if step.stage == self._stage]
        yield from non_finite(last[-1])
        yield from kl_blown_up(last, self._kl_limit)
        yield from mismatched(last)
        yield from failed_measurements(last)
        if len(window) == WINDOW:
            yield from chain(copies(window), sandbagging(self._first, window), truncation(window))
            yield from flat_reward(window, self._rewarded.get(self._stage, ()))


def rewarded_attempts(stage: Stage) -> tuple[int, ...]:
    """Return the numbers, from 1, of the attempts whose rewards a stage compares in groups.

    A stage of "star" or "pairs" compares none.
    """
    if stage.learn != "reinforce":
        return ()
    return tuple(i for i, weight in enumerate(stage.reward, 1) if weight or stage.bonus)


def non_finite(step: StepResult) -> Iterator[Alarm]:
    """Yield an alarm if the update's loss or gradient norm is not finite."""
    results = {"loss": step.update.loss, "grad_norm": step.update.grad_norm}
    bad = {name: value for name, value in results.items() if not math.isfinite(value)}
    if bad:
        yield Alarm(
            "non_finite",
            f"{' and '.join(f'{name} is {value}' for name, value in bad.items())} in iteration "
            f"{step.iteration}; the weights may be broken. Go back to a checkpoint, with a "
            "lower learner.learning_rate or learner.max_grad_norm, or model.dtype float32",
        )


def copies(window: Sequence[StepResult]) -> Iterator[Alarm]:
    """Yield an alarm if the second attempt copies the first, although accuracy is low."""
    changed, correct = mean(window, lambda s: s.accuracies.changed), mean(window, accuracy(2))
    if changed < COPIES and correct < HIGH_ACCURACY:
        yield Alarm(
            "copy",
            f"the second attempt copies the first: {changed:.1%} differ over {WINDOW} iterations, "
            f"but only {correct:.1%} are correct. Raise the bonus, which rewards improvement, or "
            "make the first stage longer, with a higher kl on the first attempt",
        )


def sandbagging(first: Sequence[StepResult], window: Sequence[StepResult]) -> Iterator[Alarm]:
    """Yield an alarm for each attempt that gets worse while the gain of the next one rises."""
    for i in range(1, window[-1].num_attempts + 1):
        (was, now), (next_was, next_now) = (
            [mean(steps, accuracy(n)) for steps in (first, window)] for n in (i, i + 1)
        )
        fall, rise = was - now, (next_now - now) - (next_was - was)
        errors = [standard_error(s, accuracy(n)) for s in (first, window) for n in (i, i + 1)]
        # Attempts of an episode are correlated, so the error of their difference is smaller.
        margin = max(FALL, SIGMAS * math.hypot(*errors))
        if fall > margin and rise > margin:
            yield Alarm(
                f"sandbagging_t{i}",
                f"attempt {i} gets worse, which leaves more to correct: {now:.1%} correct over "
                f"{WINDOW} iterations, {was:.1%} at the run's start; the gain of the next attempt "
                f"is {next_now - now:+.1%}, from {next_was - was:+.1%}. Reward attempt {i}, raise "
                "its kl, or lower the bonus",
            )


def kl_blown_up(last: Sequence[StepResult], limit: float) -> Iterator[Alarm]:
    """Yield an alarm for each attempt whose KL to the reference is large, or jumps."""
    before, now = last[:-SUDDEN], last[-SUDDEN:]
    if len(now) < SUDDEN:
        return
    for i in range(1, len(last[-1].kl) + 1):
        was, nats = mean(before, kl(i)), mean(now, kl(i))
        jumped = len(before) == WINDOW and nats > KL_JUMP * max(was, KL_FLOOR)
        if nats > limit or jumped:
            grew = f", after {was:.2f} in the {WINDOW} before" if jumped else ""
            yield Alarm(
                f"kl_t{i}",
                f"attempt {i} is {nats:.1f} nats from the reference over {SUDDEN} iterations{grew}"
                f" (limit {limit:g}). Raise the stage's kl for it, or lower learner.learning_rate",
            )


def mismatched(last: Sequence[StepResult]) -> Iterator[Alarm]:
    """Yield an alarm if the sampler's distribution is far from the learner's."""
    now = last[-SUDDEN:]
    nats = mean(now, lambda s: s.update.mismatch_kl) if len(now) == SUDDEN else math.nan
    if nats > MISMATCH:
        most = max(step.update.mismatch_max_abs for step in now)
        yield Alarm(
            "mismatch",
            f"the sampler is {nats:.3f} nats per token from the learner over {SUDDEN} iterations "
            f"(limit {MISMATCH:g}; a single token by up to {most:.1f}): the learner updates on "
            "episodes of another policy. Set learner.max_importance, which corrects part of it; "
            "with rollout.overlap, lower learner.learning_rate; else try model.dtype float32",
        )


def failed_measurements(last: Sequence[StepResult]) -> Iterator[Alarm]:
    """Yield an alarm for each way in which too many measurements fail."""
    now = last[-SUDDEN:]
    for verdict, remedy in FAILURES.items():
        share = mean(now, lambda s, v=verdict: s.episodes.share(v))
        if len(now) == SUDDEN and share > FAILED:
            yield Alarm(
                verdict.value,
                f"{share:.1%} of the attempts have the verdict {verdict.value} over {SUDDEN} "
                f"iterations (limit {FAILED:.0%}); they give no reward and no gradient, and count "
                f"as not correct in the accuracies. {remedy}",
            )


def flat_reward(window: Sequence[StepResult], rewarded: Sequence[int]) -> Iterator[Alarm]:
    """Yield an alarm if the rewards are equal in nearly all groups, which gives no gradient."""
    shares = [mean(window, lambda s, i=i: value_at(s.episodes.flat, i)) for i in rewarded]
    if shares and all(share > FLAT for share in shares):
        means = [mean(window, lambda s, i=i: value_at(s.episodes.rewards, i)) for i in rewarded]
        rewards = ", ".join(f"t{i} {value:.3f}" for i, value in zip(rewarded, means, strict=True))
        yield Alarm(
            "flat_reward",
            f"nothing to learn from: {min(shares):.1%} of groups have equal rewards over {WINDOW} "
            f"iterations (mean {rewards}). Use problems that are solved sometimes, more "
            "rollout.samples, or a higher rollout.temperature. If rewards are near 0, check in "
            "generations.txt whether correct answers are graded wrong",
        )


def truncation(window: Sequence[StepResult]) -> Iterator[Alarm]:
    """Yield an alarm for each attempt that is often cut at the token limit."""
    for i in range(1, len(window[-1].episodes.truncated) + 1):
        share = mean(window, lambda s, i=i: value_at(s.episodes.truncated, i))
        if share > TRUNCATED:
            yield Alarm(
                f"truncation_t{i}",
                f"attempt {i}: {share:.1%} are cut at the token limit over {WINDOW} iterations. "
                "Raise rollout.max_tokens (and model.max_length), or ask for shorter answers",
            )


def accuracy(attempt: int) -> Metric:
    """Return the metric of an attempt's accuracy among those that were measured.

    Without any it is nan, which raises no alarm.
    """

    def metric(step: StepResult) -> float:
        measured = step.episodes.measured_share(attempt)
        return value_at(step.accuracies.per_attempt, attempt) / measured if measured else math.nan

    return metric


def kl(attempt: int) -> Metric:
    """Return the metric of an attempt's KL."""
    return lambda step: value_at(step.kl, attempt)


def standard_error(steps: Sequence[StepResult], metric: Metric) -> float:
    """Return the standard error of a window's accuracy.

    It is the larger of two estimates: from the number of episodes, and from the scatter of the
    iterations. Episodes of one problem are correlated, which makes the first one too small.
    """
    average = mean(steps, metric)
    scatter = sum((metric(step) - average) ** 2 for step in steps) / (len(steps) - 1)
    episodes = sum(step.episodes.num_episodes for step in steps)
    binomial = average * (1 - average) / episodes if episodes else 0.0
    return math.sqrt(max(scatter / len(steps), binomial))


def mean(steps: Sequence[StepResult], metric: Metric) -> float:
    """Return a metric's mean; nan, which exceeds no threshold, unless all iterations have it."""
    return fmean(metric(step) for step in steps) if steps else math.nan
