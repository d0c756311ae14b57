"""`launch.py bench scale`: a few arrangements measured here, and what they say about more GPUs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from score_ray.bench import text_of
from score_ray.config import Config
from score_ray.inputs import Inputs
from score_ray.loop import Roles, draw, step, training_plan
from score_ray.report import Reporter
from score_ray.roles import all_roles
from score_ray.scaling import (
    Cluster,
    Costs,
    Outcome,
    best,
    draw_groups,
    iteration,
    line_through,
    step_cost,
    steps_of,
    table_rows,
)
from score_ray.scaling_plot import plot_scaling

GPUS = (8, 64, 512)
CURVE = (2, 4, 8, 16, 32, 64, 128, 256, 512)
SHARED = ("rollout", "reference", "update", "broadcast")  # not the driver's alone
COLUMNS = ("GPUs", "actors + ranks", "episodes", "s", "episodes / s", "per GPU", "takes longest")

Means = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """One actor and one rank, at the recipe's batch and at a quarter of it."""

    costs: Costs
    groups: list[list[int]]  # tokens of each problem's episodes


def run(
    inputs: Inputs, actors: Sequence[int], ranks: Sequence[int], iterations: int, folder: Path
) -> str:
    """Measure, simulate, and plot to `folder`/scaling.png; the tables as text.

    Every number of `actors` is measured with every number of `ranks`, and 1 with 1 first: the
    simulation is fed with that.
    """
    arrangements = dict.fromkeys([(1, 1), *((a, r) for r in ranks for a in actors)])
    means: dict[tuple[int, int], Means] = {}
    measured: Measured | None = None
    for pair in arrangements:
        arranged = replace(inputs, config=_arranged(inputs.config, *pair))
        with all_roles(arranged, Reporter(folder, iterations + 1, 0, quiet=True)) as roles:
            roles.channel.broadcast(0)
            means[pair] = _steps(roles, arranged.config, 0, iterations)
            if pair == (1, 1):
                measured = _measure(roles, arranged.config, means[1, 1], iterations)
    assert measured
    strong, weak = (_simulate(measured, inputs.config, GPUS, grows) for grows in (False, True))
    curves = {
        "the recipe's batch": _simulate(measured, inputs.config, CURVE, grows=False),
        "a batch that grows with the GPUs": _simulate(measured, inputs.config, CURVE, grows=True),
    }
    plot_scaling(curves, folder / "scaling.png")
    one = _simulate(measured, inputs.config, (2,), grows=False)[0]
    return text_of(
        _measured_table(means, inputs.config),
        _cost_table(measured.costs),
        _table("simulated: the recipe's batch", COLUMNS, table_rows(strong, one)),
        _table("simulated: a batch that grows with the GPUs", COLUMNS, table_rows(weak, one)),
    )


def _arranged(config: Config, actors: int, ranks: int) -> Config:
    rollout = config.rollout.model_copy(update={"num_actors": actors})
    zero = max(config.learner.zero_stage, 2) if ranks > 1 else config.learner.zero_stage
    learner = config.learner.model_copy(update={"num_ranks": ranks, "zero_stage": zero})
    return config.model_copy(update={"rollout": rollout, "learner": learner})


def _steps(roles: Roles, config: Config, start: int, iterations: int) -> Means:
    """Mean seconds by phase, after one iteration to warm up; `start` updates have been made."""
    records: list[dict[str, Any]] = [
        step(roles, config, i, {}) for i in range(start, start + iterations + 1)
    ]
    names = [name for name in records[0] if name.startswith("time/")]
    found = {name.removeprefix("time/"): fmean(r[name] for r in records[1:]) for name in names}
    found["driver"] = found["iteration"] - sum(found[phase] for phase in SHARED)
    return found


def _measure(roles: Roles, config: Config, whole: Means, iterations: int) -> Measured:
    quarter = max(config.rollout.problems // 4, 1)
    small = config.model_copy(
        update={"rollout": config.rollout.model_copy(update={"problems": quarter})}
    )
    part = _steps(roles, small, iterations + 1, iterations)
    groups, *large_sample = _sample(roles, config, iterations)
    _, *small_sample = _sample(roles, small, iterations)
    counts = [c.rollout.problems * c.rollout.samples for c in (small, config)]

    def by_episodes(phase: str):
        return line_through((counts[0], part[phase]), (counts[1], whole[phase]))

    sizes = roles.learner.sizes()
    costs = Costs(
        step=step_cost([tuple(small_sample[:2]), tuple(large_sample[:2])]),
        reference=by_episodes("reference"),
        update=by_episodes("update"),
        driver=by_episodes("driver"),
        reading=large_sample[2] / counts[1],
        broadcast=whole["broadcast"],
        weight_bytes=sum(sizes.values()) * (2 if config.model.dtype == "bfloat16" else 4),
    )
    return Measured(costs, groups)


def _sample(roles: Roles, config: Config, repeats: int) -> tuple[list[list[int]], Any, Any, Any]:
    """Tokens by problem, (steps, request-steps), and the mean seconds of rollout and driver."""
    problems = draw(roles.train, config.rollout.problems, config.seed, 0)
    plan = training_plan(config, 0)
    began, busy = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        episodes = [e for part in roles.pool.sample(problems, plan) for e in part]
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    groups: dict[int, list[int]] = {}
    for e in episodes:
        drawn = sum(len(a.completion_ids) for a in e.attempts if not a.given)
        groups.setdefault(e.problem.index, []).append(drawn)
    counts = steps_of([n for group in groups.values() for n in group], config.rollout.max_running)
    return list(groups.values()), counts, seconds / repeats, busy / repeats


def _simulate(
    measured: Measured, config: Config, gpus: Sequence[int], grows: bool
) -> list[Outcome]:
    """The best arrangement of so many GPUs, each; the smallest is one actor and one rank."""
    own, outcomes = config.rollout, []
    for count in gpus:
        problems = own.problems * count // 2 if grows else own.problems
        groups = draw_groups(measured.groups, problems)
        if count == 2:
            found = iteration(groups, (1, 1), measured.costs, Cluster(), own.max_running)
        else:
            found = best(groups, count, measured.costs, Cluster(), own.max_running)
        outcomes.append(found)
    return outcomes


def _measured_table(means: dict[tuple[int, int], Means], config: Config) -> Table:
    episodes = config.rollout.problems * config.rollout.samples
    first = means[1, 1]["iteration"]
    rows = [
        (
            f"{actors} + {ranks}",
            *(f"{found[phase]:.3f}" for phase in (*SHARED, "driver", "iteration")),
            f"{episodes / found['iteration']:.0f}",
            f"{first / found['iteration']:.2f}",
        )
        for (actors, ranks), found in means.items()
    ]
    columns = ("actors + ranks", *SHARED, "driver", "iteration", "episodes / s", "against 1 + 1")
    return _table("measured on this machine, in seconds", columns, rows)


def _cost_table(costs: Costs) -> Table:
    rows = [
        ("engine step, by requests running", costs.step),
        ("reference, by episodes", costs.reference),
        ("update, by episodes", costs.update),
        ("driver alone, by episodes", costs.driver),
    ]
    shown = [(name, f"{c.fixed:.4f}", f"{c.each * 1000:.4f}") for name, c in rows]
    shown.append(("driver reading, by episodes", "", f"{costs.reading * 1000:.4f}"))
    shown.append(("broadcast", f"{costs.broadcast:.4f}", ""))
    return _table("what the simulation is fed with", ("cost", "s", "ms each"), shown)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    return table
