"""Measure what a recipe costs on this machine: seconds by phase, rates and peak memory.

Two rates to compare with are measured in the same run, so that the ratios mean something on a
noisy machine: vLLM's own offline generation of the same prompts and lengths, and a matrix
product on the learner's devices.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.table import Table

from score_ray.bench.text_tables import table, text_of
from score_ray.config.config import Config
from score_ray.planning.model_shape import ModelShape, read_shape
from score_ray.runtime.actors import PeakMemory, peak_memory
from score_ray.training.inputs import Inputs
from score_ray.training.iteration import draw, training_plan
from score_ray.training.trainer import Roles, collector, step

PHASES = ("rollout", "grade", "reference", "update", "broadcast", "iteration")


@dataclass(frozen=True, slots=True)
class RecipeCost:
    """Mean cost of an iteration of a recipe on this machine."""

    means: dict[str, float]  # of the metrics
    update_flops: float  # per second of update, all ranks together
    matmul_flops: float  # per second of matrix products on all ranks at once
    memory: dict[str, PeakMemory]  # by process


def run(roles: Roles, inputs: Inputs, iterations: int) -> str:
    """Measure `iterations` iterations after a first one to warm up; return tables as text."""
    cost = measure(roles, inputs, iterations)
    against_offline = _against_offline(roles, inputs.config, iterations)
    return text_of(
        _phase_table(cost.means),
        table("rates", ("what", "value"), rate_rows(cost, against_offline)),
        memory_table(cost.memory),
    )


def measure(roles: Roles, inputs: Inputs, iterations: int) -> RecipeCost:
    """Measure iterations, and then matrix products on the ranks' devices and memory."""
    means = mean_metrics(roles, inputs.config, iterations)
    shape = read_shape(inputs.model, inputs.config.model.path)
    return RecipeCost(
        means,
        update_flops(inputs.config, shape, means) / means["time/update"],
        roles.learner.matmul_rate(),
        {**roles.pool.peak_memory(), **roles.learner.peak_memory(), "driver": peak_memory()},
    )


def mean_metrics(roles: Roles, config: Config, iterations: int) -> dict[str, float]:
    """Return the mean metrics of `iterations` iterations after a first one to warm up."""
    roles.channel.broadcast(0)
    with collector(roles, config) as collect:
        records = [step(roles, config, collect, i) for i in range(iterations + 1)]
    return means_of(records[1:])


def means_of(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean of every number of the first record; a record without it counts as 0."""
    numbers = [key for key, value in records[0].items() if isinstance(value, int | float)]
    return {key: fmean(float(record.get(key, 0)) for record in records) for key in numbers}


def update_flops(config: Config, shape: ModelShape, means: Mapping[str, float]) -> float:
    """Return the FLOP of an update.

    Every weight costs 2 per token forward, and 4 backward, or 2 where it is frozen. The output
    head sees sampled tokens alone. Attention and recomputed activations are left out.
    """
    tokens = shape.body * means["tokens/trained"] + shape.head * means["tokens/sampled"]
    return (4.0 if config.learner.lora.rank else 6.0) * tokens


def _against_offline(roles: Roles, config: Config, iterations: int) -> float:
    """Return the time of vLLM's offline generation over that of a rollout of the same episodes."""
    problems = draw(roles.train, config.rollout.problems, config.seed, iterations)
    plan = training_plan(config, iterations)
    began = time.perf_counter()
    episodes = [episode for part in roles.pool.sample(problems, plan) for episode in part]
    rollout = time.perf_counter() - began
    return roles.pool.offline_seconds(episodes) / rollout


def rate_rows(cost: RecipeCost, against_offline: float) -> list[tuple[str, str]]:
    """Return the rates by name; `against_offline` is vLLM's offline time over the rollout's."""
    means = cost.means
    phases = sum(means[f"time/{phase}"] for phase in ("rollout", "reference", "update"))
    sampled = means["tokens/sampled"] / means["time/rollout"]
    trained = means["tokens/trained"] / means["time/update"]
    return [
        ("sampled tokens / s of rollout", f"{sampled:,.0f}"),
        ("trained tokens / s of update", f"{trained:,.0f}"),
        ("rollout / vLLM offline, same prompts and lengths", f"{against_offline:.2f}"),
        ("learner GFLOP/s", f"{cost.update_flops / 1e9:.1f}"),
        ("matrix product GFLOP/s, same devices and dtype", f"{cost.matmul_flops / 1e9:.1f}"),
        ("learner / matrix product", f"{cost.update_flops / cost.matmul_flops:.2f}"),
        ("neither rollout, reference nor update", f"{1 - phases / means['time/iteration']:.1%}"),
        ("weight transfer, s", f"{means['time/weights']:.3f}"),
    ]


def memory_table(peaks: Mapping[str, PeakMemory]) -> Table:
    """Return a table of peak memory by process; GPUs have a column where there are some."""
    on_gpu = any(peak.gpu for peak in peaks.values())
    rows = [(name, f"{host:.2f}", *[f"{gpu:.2f}"] * on_gpu) for name, (host, gpu) in peaks.items()]
    return table("peak memory", ("process", "GiB", *["GiB of its GPU"] * on_gpu), rows)


def _phase_table(means: Mapping[str, float]) -> Table:
    seconds = {phase: means[f"time/{phase}"] for phase in PHASES}
    rows = [
        (phase, f"{taken:.3f}", f"{taken / seconds['iteration']:.1%}")
        for phase, taken in seconds.items()
    ]
    return table("one iteration", ("phase", "seconds", "share"), rows)
