"""`launch.py bench scale`: a few arrangements measured here, and what they say about more GPUs."""

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich.table import Table

from score_ray.algorithm.batch import row_of
from score_ray.bench.recipe_cost import text_of
from score_ray.bench.scaling_model import (
    Cluster,
    Costs,
    LinearCost,
    SimulatedIteration,
    best,
    iteration,
    line_through,
    more_groups,
    step_cost,
    steps_of,
    table_rows,
    verdict,
)
from score_ray.bench.scaling_plot import plot_scaling
from score_ray.config.config import Config, ConfigError
from score_ray.planning.model_shape import read_shape
from score_ray.reporting.reporter import Reporter
from score_ray.training.inputs import Inputs
from score_ray.training.iteration import draw, training_plan
from score_ray.training.roles import all_roles
from score_ray.training.trainer import Roles, collector, step

ONE = (1, 1)  # rollout actor, learner rank
GPUS = (8, 64, 512)
CURVE = (2, 4, 8, 16, 32, 64, 128, 256, 512)
SHARED = ("rollout", "reference", "update", "broadcast")  # not the driver's alone
PHASES = (*SHARED, "driver")
COLUMNS = (
    "GPUs", "actors + ranks", "episodes", "s", "episodes / s", "per GPU", "undivided", "limit"
)  # fmt: skip

Seconds = dict[str, float]  # by phase


@dataclass(frozen=True)
class Arrangement:
    """What was measured with one arrangement and one size of batch, in seconds."""

    groups: list[list[int]]  # tokens of each problem's episodes
    means: Seconds  # of the loop's own iterations
    sampling: float  # those groups
    driver: Seconds  # processor time of the driver in each phase
    reading_rows: float  # what a rank spends on reading all rows
    row_bytes: float

    @property
    def episodes(self) -> int:
        """In an iteration."""
        return sum(map(len, self.groups))

    def steps(self, max_running: int) -> tuple[int, int, int]:
        """(steps, request-steps, parts of its stream) of an engine that samples the groups."""
        lengths = [tokens for group in self.groups for tokens in group]
        return steps_of(lengths, max_running)


def run(
    inputs: Inputs,
    actors: Sequence[int],
    ranks: Sequence[int],
    iterations: int,
    folder: Path,
    cluster: Cluster = Cluster(),  # noqa: B008
) -> str:
    """Measure, simulate, and plot to `folder`/scaling.png; the tables as text.

    Every number of `actors` is measured with every number of `ranks`, and 1 with 1 first, which
    is what most of the simulation is fed with.
    """
    config, seen, smaller = inputs.config, {}, []
    if iterations >= config.iterations:
        raise ConfigError(
            f"--iterations {iterations}: at most {config.iterations - 1}, since one warms up and "
            f"the recipe has {config.iterations}"
        )
    for pair in dict.fromkeys([ONE, *((a, r) for r in ranks for a in actors)]):
        arranged = replace(inputs, config=arrange(config, *pair))
        with all_roles(arranged, Reporter(folder, iterations + 1, 0, quiet=True)) as roles:
            seen[pair] = _observe(roles, arranged.config, iterations)
            if pair == ONE:
                sizes = [resize(config, part) for part in (4, 2)]
                smaller = [_observe(roles, size, iterations) for size in sizes]
    weights = read_shape(inputs.model, config.model.path).parameters
    weights *= 2 if config.model.dtype == "bfloat16" else 4
    costs = costs_of(seen, smaller[0], config.rollout.max_running, weights)
    recipe, grown = (_curve(seen[ONE], config, costs, cluster, grows) for grows in (False, True))
    curves = {"the recipe's batch": recipe, "a batch that grows with the GPUs": grown}
    plot_scaling(curves, folder / "scaling.png")
    half = iteration(smaller[1].groups, ONE, costs, cluster, config.rollout.max_running)
    return text_of(
        _measured_table(seen),
        _cost_table(costs),
        _check_table(half, smaller[1]),
        *(
            _table(f"simulated: {name}", COLUMNS, table_rows(outcomes, GPUS))
            for name, outcomes in curves.items()
        ),
    ) + "".join(f"{name}: {verdict(outcomes)}\n" for name, outcomes in curves.items())


def arrange(config: Config, actors: int, ranks: int) -> Config:
    """The same recipe on so many rollout actors and learner ranks."""
    rollout = config.rollout.model_copy(update={"num_actors": actors})
    zero = max(config.learner.zero_stage, 2) if ranks > 1 else config.learner.zero_stage
    learner = config.learner.model_copy(update={"num_ranks": ranks, "zero_stage": zero})
    return config.model_copy(update={"rollout": rollout, "learner": learner})


def resize(config: Config, part: int) -> Config:
    """The same recipe with a `part`-th of its problems in an iteration."""
    few = {"problems": max(config.rollout.problems // part, 1)}
    return config.model_copy(update={"rollout": config.rollout.model_copy(update=few)})


def costs_of(
    seen: Mapping[tuple[int, int], Arrangement],
    small: Arrangement,
    max_running: int,
    weight_bytes: int,
) -> Costs:
    """The model's costs from the arrangements and, with one of each, a smaller batch.

    What a further process costs is told by the most actors with one rank, and the most ranks
    with one actor.
    """
    one = seen[ONE]
    most = max(a for a, r in seen if r == 1), max(r for a, r in seen if a == 1)
    both = (small, one)
    passing = _line(both, lambda s: fmean((s.driver["reference"], s.driver["update"])))
    handing = passing.each + one.reading_rows / one.episodes
    counts = [s.steps(max_running) for s in both]

    def line(phase: str, apart: float = 0.0) -> LinearCost:
        found = _line(both, lambda s: s.means[phase])
        return LinearCost(found.fixed, max(found.each - apart, 0.0))

    def further(pair: tuple[int, int], phases: Sequence[str]) -> float:
        more = sum(seen[pair].driver[p] - one.driver[p] for p in phases)
        return max(more, 0.0) / max(max(pair) - 1, 1) / len(phases)

    return Costs(
        step=step_cost([(n[:2], s.sampling) for n, s in zip(counts, both, strict=True)]),
        reference=line("reference", handing),
        update=line("update", handing),
        driver=line("driver"),
        broadcast=one.means["broadcast"],
        handing=handing,
        reading=step_cost(
            [((n[2], s.episodes), s.driver["rollout"]) for n, s in zip(counts, both, strict=True)]
        ),
        per_actor=further((most[0], 1), ("broadcast",)),
        per_rank=further((1, most[1]), ("reference", "update")),
        row_bytes=one.row_bytes,
        weight_bytes=weight_bytes,
    )


def _line(both: tuple[Arrangement, Arrangement], of: Callable[[Arrangement], float]) -> LinearCost:
    few, many = both
    return line_through((few.episodes, of(few)), (many.episodes, of(many)))


def _observe(roles: Roles, config: Config, iterations: int) -> Arrangement:
    """Iterations of the loop for their phases, then as many call by call for what they hide."""
    roles.channel.broadcast(0)
    with collector(roles, config) as collect:
        records = [step(roles, config, collect, i) for i in range(iterations + 1)][1:]
    means = {phase: fmean(r[f"time/{phase}"] for r in records) for phase in SHARED}
    means["iteration"] = fmean(r["time/iteration"] for r in records)
    means["driver"] = means["iteration"] - sum(means[phase] for phase in SHARED)
    idle = _processor_time(lambda: time.sleep(1.0), idle=0.0)
    found = [_call_by_call(roles, config, idle) for _ in range(iterations)]
    first = found[0]
    return replace(
        first,
        means=means,
        sampling=fmean(f.sampling for f in found),
        driver={phase: fmean(f.driver[phase] for f in found) for phase in SHARED},
        reading_rows=fmean(f.reading_rows for f in found),
    )


def _call_by_call(roles: Roles, config: Config, idle: float) -> Arrangement:
    """The calls of an iteration, always on the same problems, with the driver's own share."""
    problems = draw(roles.train, config.rollout.problems, config.seed, 0)
    plan, episodes = training_plan(config, 0), []

    def sample() -> None:
        for part in roles.pool.sample(problems, plan):
            roles.grader.submit(part)
            episodes.extend(part)

    began = time.perf_counter()
    driver = {"rollout": _processor_time(sample, idle)}
    sampling = time.perf_counter() - began
    roles.grader.collect()
    rows = [row_of(episode) for episode in episodes]
    # Without an advantage the update takes as long and moves the policy by its momentum alone.
    nothing = np.zeros((len(rows), plan.attempts))
    calls = {
        "reference": lambda: roles.learner.reference_sums(rows, plan.attempts),
        "update": lambda: roles.learner.update(rows, nothing, 0),
        "broadcast": lambda: roles.channel.broadcast(0),
    }
    driver |= {phase: _processor_time(call, idle) for phase, call in calls.items()}
    packed = pickle.dumps(rows, protocol=5)
    began = time.perf_counter()
    pickle.loads(packed)
    reading = time.perf_counter() - began
    return Arrangement(_tokens(episodes), {}, sampling, driver, reading, len(packed) / len(rows))


def _processor_time(call: Callable[[], Any], idle: float) -> float:
    """Of this process during a call, beyond what it uses of every second while it waits."""
    began, at = time.perf_counter(), time.process_time()
    call()
    return max(time.process_time() - at - idle * (time.perf_counter() - began), 0.0)


def _tokens(episodes: Sequence[Any]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for e in sorted(episodes, key=lambda e: (e.problem.index, e.sample)):
        drawn = sum(len(a.completion_ids) for a in e.attempts if not a.given)
        groups.setdefault(e.problem.index, []).append(drawn)
    return list(groups.values())


def _curve(
    one: Arrangement, config: Config, costs: Costs, cluster: Cluster, grows: bool
) -> list[SimulatedIteration]:
    """The best split of each number of GPUs; the recipe's batch is that of two."""
    own = config.rollout.problems
    return [
        best(
            more_groups(one.groups, own * count // 2 if grows else own),
            count, costs, cluster, config.rollout.max_running,
        )
        for count in CURVE
    ]  # fmt: skip


def _measured_table(seen: Mapping[tuple[int, int], Arrangement]) -> Table:
    first = seen[ONE].means["iteration"]
    rows = [
        (
            f"{actors} + {ranks}",
            *(f"{found.means[phase]:.3f}" for phase in (*PHASES, "iteration")),
            f"{found.episodes / found.means['iteration']:.0f}",
            f"{first / found.means['iteration']:.2f}",
        )
        for (actors, ranks), found in seen.items()
    ]
    columns = ("actors + ranks", *PHASES, "iteration", "episodes / s", "against 1 + 1")
    return _table("measured on this machine, in seconds", columns, rows)


def _cost_table(costs: Costs) -> Table:
    rows = [
        ("engine step, by requests running", costs.step),
        ("reference, by a rank's episodes", costs.reference),
        ("update, by a rank's episodes", costs.update),
        ("driver alone, by episodes", costs.driver),
        ("broadcast", LinearCost(costs.broadcast, 0)),
        ("driver reading a part, by episodes in it", costs.reading),
        ("rows to every rank, twice, by episodes", LinearCost(0, costs.handing)),
        ("calling, twice, by further actors", LinearCost(0, costs.per_actor)),
        ("calling, twice, by further ranks", LinearCost(0, costs.per_rank)),
    ]
    shown = [(name, f"{1000 * c.fixed:.2f}", f"{1000 * c.each:.4f}") for name, c in rows]
    return _table("what the simulation is fed with", ("cost", "ms", "ms each"), shown)


def _check_table(model: SimulatedIteration, found: Arrangement) -> Table:
    """The model against a batch that nothing was fitted to."""
    rows = [
        ("the model", *(f"{model.phases[p]:.3f}" for p in PHASES), f"{model.seconds:.3f}"),
        ("measured", *(f"{found.means[p]:.3f}" for p in (*PHASES, "iteration"))),
    ]
    title = f"1 + 1 with {found.episodes} episodes, to which nothing was fitted, in seconds"
    return _table(title, ("", *PHASES, "iteration"), rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    return table
