"""Report measured and simulated scaling as tables and sentences."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from rich.table import Table

from score_ray.bench.scaling_measurement import PHASES, MeasuredIteration
from score_ray.bench.scaling_model import ONE_EACH, Costs, LinearCost, SimulatedIteration, Split
from score_ray.bench.text_tables import table, text_of

GPUS = (8, 64, 512)  # shown in the tables
LEAST_GAIN = 1.25  # in the rate, for twice the GPUs: below it, more GPUs do not pay
COLUMNS = (
    "GPUs", "actors + ranks", "episodes", "s", "episodes / s", "per GPU", "undivided", "limit"
)  # fmt: skip

Curve = Sequence[SimulatedIteration]


def report(
    measured: Mapping[Split, MeasuredIteration],
    costs: Costs,
    check: Table,
    curves: Mapping[str, Curve],
) -> str:
    """Return all tables, and for each curve where more GPUs stop paying, as text."""
    simulated = [
        table(f"simulated: {name}", COLUMNS, simulated_rows(curve, GPUS))
        for name, curve in curves.items()
    ]
    tables = text_of(measured_table(measured), cost_table(costs), check, *simulated)
    return tables + "".join(f"{name}: {verdict(curve)}\n" for name, curve in curves.items())


def stops(
    curve: Curve, gain: float = LEAST_GAIN
) -> tuple[SimulatedIteration, SimulatedIteration] | None:
    """Return the first (before, after) where more GPUs give less than `gain` times the rate."""
    return next(((a, b) for a, b in pairwise(curve) if b.rate < gain * a.rate), None)


def verdict(curve: Curve) -> str:
    """Return a sentence with where more GPUs stop paying, and why."""
    stop = stops(curve)
    if stop is None:
        return f"scales up to {curve[-1].gpus} GPUs"
    before, after = stop
    return (
        f"{after.gpus} GPUs give {after.rate / before.rate:.2f} times the episodes per second of "
        f"{before.gpus}; limit: {after.limit}"
    )


def simulated_rows(curve: Curve, gpus: Collection[int]) -> list[tuple[str, ...]]:
    """Return the rows of COLUMNS for these numbers of GPUs.

    The rate per GPU is compared with that of the curve's first point.
    """
    first = curve[0].rate / curve[0].gpus
    return [
        (
            str(one.gpus),
            f"{one.actors} + {one.ranks}",
            f"{one.episodes:,}",
            f"{one.seconds:.3f}",
            f"{one.rate:,.0f}",
            f"{one.rate / one.gpus / first:.0%}",
            f"{one.undivided_share:.0%}",
            one.limit,
        )
        for one in curve
        if one.gpus in gpus
    ]


def measured_table(measured: Mapping[Split, MeasuredIteration]) -> Table:
    """Return a table of the measured seconds by phase, a row for each split."""
    first = measured[ONE_EACH].means["iteration"]
    rows = [
        (
            f"{actors} + {ranks}",
            *(f"{one.means[phase]:.3f}" for phase in (*PHASES, "iteration")),
            f"{one.episodes / one.means['iteration']:.0f}",
            f"{first / one.means['iteration']:.2f}",
        )
        for (actors, ranks), one in measured.items()
    ]
    columns = ("actors + ranks", *PHASES, "iteration", "episodes / s", "against 1 + 1")
    return table("measured on this machine, in seconds", columns, rows)


def cost_table(costs: Costs) -> Table:
    """Return a table of the costs that the simulation uses, in milliseconds."""
    by_name = {
        "engine step, by requests running": costs.step,
        "reference, by a rank's episodes": costs.reference,
        "update, by a rank's episodes": costs.update,
        "driver alone, by episodes": costs.driver,
        "broadcast": LinearCost(costs.broadcast, 0),
        "driver reading a part, by episodes in it": costs.reading_part,
        "rows to every rank, twice, by episodes": LinearCost(0, costs.sending_rows),
        "calling, twice, by further actors": LinearCost(0, costs.per_actor),
        "calling, twice, by further ranks": LinearCost(0, costs.per_rank),
    }
    rows = [
        (name, f"{1000 * cost.fixed:.2f}", f"{1000 * cost.per_item:.4f}")
        for name, cost in by_name.items()
    ]
    return table("costs that the simulation uses", ("cost", "ms", "ms each"), rows)


def check_table(predicted: SimulatedIteration, measured: MeasuredIteration) -> Table:
    """Return a table of the model against a batch that it was not fitted to."""
    simulated = (*(predicted.phases[phase] for phase in PHASES), predicted.seconds)
    observed = (*(measured.means[phase] for phase in PHASES), measured.means["iteration"])
    rows = [
        (name, *(f"{seconds:.3f}" for seconds in row))
        for name, row in (("the model", simulated), ("measured", observed))
    ]
    title = f"1 + 1 with {measured.episodes} episodes, to which nothing was fitted, in seconds"
    return table(title, ("", *PHASES, "iteration"), rows)
