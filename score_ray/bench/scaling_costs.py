"""Fit the costs of the scaling model to measured iterations."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from score_ray.bench.scaling_measurement import MeasuredIteration
from score_ray.bench.scaling_model import ONE_EACH, Costs, LinearCost, Split

Batches = tuple[MeasuredIteration, MeasuredIteration]  # a small one and the recipe's
StepCount = tuple[int, int]  # steps, and the sum over steps of the items in each


def fit_costs(
    measured: Mapping[Split, MeasuredIteration],
    small: MeasuredIteration,
    max_running: int,
    weight_bytes: int,
) -> Costs:
    """Return the model's costs from all splits, and a smaller batch with one actor and one rank.

    The cost of a further process comes from the most actors with one rank, and from the most
    ranks with one actor.
    """
    full = measured[ONE_EACH]
    batches = (small, full)
    sending_rows = _sending_rows(batches)
    steps = [one.steps(max_running) for one in batches]
    reading = [
        ((count[2], one.episodes), one.driver["rollout"])
        for count, one in zip(steps, batches, strict=True)
    ]
    return Costs(
        step=fit_step([(n[:2], one.sampling) for n, one in zip(steps, batches, strict=True)]),
        reference=_fit_phase(batches, "reference", sending_rows),
        update=_fit_phase(batches, "update", sending_rows),
        driver=_fit_phase(batches, "driver"),
        broadcast=full.means["broadcast"],
        sending_rows=sending_rows,
        reading_part=fit_step(reading),
        per_actor=_per_actor(measured),
        per_rank=_per_rank(measured),
        row_bytes=full.row_bytes,
        weight_bytes=weight_bytes,
    )


def fit_line(first: tuple[float, float], second: tuple[float, float]) -> LinearCost:
    """Return the line through two (count, seconds); neither of its parts is negative."""
    (n1, t1), (n2, t2) = sorted([first, second])
    per_item = max((t2 - t1) / (n2 - n1), 0.0) if n1 != n2 else t2 / n2
    fixed = t1 - per_item * n1
    return LinearCost(fixed, per_item) if fixed >= 0 else LinearCost(0.0, t2 / n2)


def fit_step(measured: Sequence[tuple[StepCount, float]]) -> LinearCost:
    """Return the cost of a step from two ((steps, items in all steps), seconds).

    For an engine the items are running requests; for the driver a step is a part of a stream
    and the items are its episodes. Neither part of the cost is negative.
    """
    ((s1, r1), t1), ((s2, r2), t2) = measured
    if s1 * r2 == s2 * r1:
        return LinearCost(0.0, t1 / r1)
    fixed = (t1 * r2 - t2 * r1) / (s1 * r2 - s2 * r1)
    per_item = (t1 - fixed * s1) / r1
    if fixed < 0:
        return LinearCost(0.0, (t1 + t2) / (r1 + r2))
    return LinearCost(fixed, per_item) if per_item >= 0 else LinearCost((t1 + t2) / (s1 + s2), 0.0)


def _fit_phase(batches: Batches, phase: str, counted_apart: float = 0.0) -> LinearCost:
    """Fit a phase by episodes, less the seconds per episode that are counted elsewhere."""
    line = _fit_by_episodes(batches, lambda one: one.means[phase])
    return LinearCost(line.fixed, max(line.per_item - counted_apart, 0.0))


def _sending_rows(batches: Batches) -> float:
    """Return the seconds per episode to send rows: the driver's part and a rank's part."""
    driver = _fit_by_episodes(
        batches, lambda one: fmean((one.driver["reference"], one.driver["update"]))
    )
    return driver.per_item + batches[1].reading_rows / batches[1].episodes


def _fit_by_episodes(batches: Batches, seconds: Callable[[MeasuredIteration], float]) -> LinearCost:
    small, full = batches
    return fit_line((small.episodes, seconds(small)), (full.episodes, seconds(full)))


def _per_actor(measured: Mapping[Split, MeasuredIteration]) -> float:
    most = max(actors for actors, ranks in measured if ranks == 1)
    return _per_process(measured, (most, 1), ("broadcast",))


def _per_rank(measured: Mapping[Split, MeasuredIteration]) -> float:
    most = max(ranks for actors, ranks in measured if actors == 1)
    return _per_process(measured, (1, most), ("reference", "update"))


def _per_process(
    measured: Mapping[Split, MeasuredIteration], split: Split, phases: Sequence[str]
) -> float:
    """Return the driver's further seconds for a further process, per phase."""
    one, many = measured[ONE_EACH].driver, measured[split].driver
    further = sum(many[phase] - one[phase] for phase in phases)
    return max(further, 0.0) / max(max(split) - 1, 1) / len(phases)
