"""What a recipe costs on this machine: seconds by phase, rates against what is possible.

The two yardsticks are measured in the same run, so that ratios mean something on a noisy
machine: vLLM's own offline generation of the same prompts and lengths, and a matrix product on
the learner's own devices.
"""

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from score_ray.config.config import Config
from score_ray.planning.model_shape import ModelShape, read_shape
from score_ray.runtime.actors import PeakMemory, peak_memory
from score_ray.training.inputs import Inputs
from score_ray.training.iteration import draw, training_plan
from score_ray.training.trainer import Roles, collector, step

PHASES = ("rollout", "grade", "reference", "update", "broadcast", "iteration")


@dataclass(frozen=True, slots=True)
class RecipeCost:
    """What some iterations of a recipe took here, on average."""

    means: dict[str, float]  # of the metrics
    flops: float  # per second of update, all ranks together
    product: float  # FLOP/s of matrix products on all ranks at once
    memory: dict[str, PeakMemory]  # by process


def observe(roles: Roles, inputs: Inputs, iterations: int) -> RecipeCost:
    """Run `iterations` iterations after one to warm up, and measure the ranks' matrix products."""
    config = inputs.config
    roles.channel.broadcast(0)
    with collector(roles, config) as collect:
        records = [step(roles, config, collect, i) for i in range(iterations + 1)][1:]
    means = means_of(records)
    work = update_flops(config, read_shape(inputs.model, config.model.path), means)
    return RecipeCost(
        means,
        work / means["time/update"],
        roles.learner.matmul_rate(),
        {**roles.pool.peak_memory(), **roles.learner.peak_memory(), "driver": peak_memory()},
    )


def run(roles: Roles, inputs: Inputs, iterations: int) -> str:
    """Measure `iterations` iterations after one to warm up; the tables as text."""
    seen = observe(roles, inputs, iterations)
    faster = _against_offline(roles, inputs.config, iterations)
    return text_of(
        _phase_table(seen.means), _rate_table(rate_rows(seen, faster)), _memory_table(seen.memory)
    )


def update_flops(config: Config, shape: ModelShape, means: Mapping[str, float]) -> float:
    """Of an update: 2 per weight and token forward, and 4 backward or, where frozen, 2.

    The output head sees drawn tokens alone. Attention and what is computed twice are left out.
    """
    tokens = shape.body * means["tokens/trained"] + shape.head * means["tokens/sampled"]
    return (4.0 if config.learner.lora.rank else 6.0) * tokens


def means_of(records: list[dict[str, Any]]) -> dict[str, float]:
    """Of every number in the records; where one lacks it, it counts as 0."""
    numbers = [key for key, value in records[0].items() if isinstance(value, int | float)]
    return {key: fmean(float(r.get(key, 0)) for r in records) for key in numbers}


def _against_offline(roles: Roles, config: Config, iterations: int) -> float:
    """How fast sampling is beside vLLM's offline generation of the same."""
    problems = draw(roles.train, config.rollout.problems, config.seed, iterations)
    began = time.perf_counter()
    plan = training_plan(config, iterations)
    episodes = [e for part in roles.pool.sample(problems, plan) for e in part]
    ours = time.perf_counter() - began
    return roles.pool.offline_seconds(episodes) / ours


def _phase_table(means: dict[str, float]) -> Table:
    table = Table("phase", "seconds", "share", title="one iteration")
    for phase in PHASES:
        seconds = means[f"time/{phase}"]
        table.add_row(phase, f"{seconds:.3f}", f"{seconds / means['time/iteration']:.1%}")
    return table


def rate_rows(seen: RecipeCost, faster: float) -> list[tuple[str, str]]:
    """What was measured, named; `faster` is vLLM's offline time over our rollout time."""
    means = seen.means
    busy = sum(means[f"time/{p}"] for p in ("rollout", "reference", "update"))
    sampled = means["tokens/sampled"] / means["time/rollout"]
    trained = means["tokens/trained"] / means["time/update"]
    return [
        ("sampled tokens / s of rollout", f"{sampled:,.0f}"),
        ("trained tokens / s of update", f"{trained:,.0f}"),
        ("rollout / vLLM offline, same prompts and lengths", f"{faster:.2f}"),
        ("learner GFLOP/s", f"{seen.flops / 1e9:.1f}"),
        ("matrix product GFLOP/s, same devices and numbers", f"{seen.product / 1e9:.1f}"),
        ("learner / matrix product", f"{seen.flops / seen.product:.2f}"),
        ("neither rollout, reference nor update", f"{1 - busy / means['time/iteration']:.1%}"),
        ("weights on their way, s", f"{means['time/weights']:.3f}"),
    ]


def _rate_table(rows: list[tuple[str, str]]) -> Table:
    table = Table("what", "value", title="rates")
    for row in rows:
        table.add_row(*row)
    return table


def _memory_table(peaks: dict[str, PeakMemory]) -> Table:
    on_gpu = any(peak.gpu for peak in peaks.values())
    table = Table("process", "GiB", *["GiB of its GPU"] * on_gpu, title="peak memory")
    for name, (host, gpu) in peaks.items():
        table.add_row(name, f"{host:.2f}", *[f"{gpu:.2f}"] * on_gpu)
    return table


def text_of(*tables: Table, width: int = 100) -> str:
    """Tables as plain text."""
    out = io.StringIO()
    console = Console(file=out, width=width)
    for table in tables:
        console.print(table)
    return out.getvalue()
