"""What a recipe costs on this machine: seconds by phase, rates against what is possible.

The two yardsticks are measured in the same run, so that ratios mean something on a noisy
machine: vLLM's own offline generation of the same prompts and lengths, and the machine's
float32 matrix product.
"""

import io
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from score_ray.config import Config
from score_ray.iteration import draw, training_plan
from score_ray.loop import Roles, collector, step
from score_ray.placement.actors import peak_memory
from score_ray.types import Episode

PHASES = ("rollout", "grade", "reference", "update", "broadcast", "iteration")


def matmul_rate(size: int = 1536, seconds: float = 2.0) -> float:
    """Float32 matrix-product rate of this process, in FLOP/s; the best of repeated runs."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def run(roles: Roles, config: Config, iterations: int, rate: float) -> str:
    """Measure `iterations` iterations after one to warm up; the tables as text."""
    roles.channel.broadcast(0)
    with collector(roles, config) as collect:
        records = [step(roles, config, collect, i) for i in range(iterations + 1)][1:]
    means = {key: _mean(records, key) for key in records[0] if _is_number(records[0][key])}
    # The shapes of the last update serve for both yardsticks, so weights do not move again.
    plan = training_plan(config, iterations)
    problems = draw(roles.train, config.rollout.problems, config.seed, iterations)
    start = time.perf_counter()
    episodes = [e for part in roles.pool.sample(problems, plan) for e in part]
    ours = time.perf_counter() - start
    theirs = roles.pool.offline_seconds(episodes)
    flops = update_flops(episodes, roles.learner.sizes()) / means["time/update"]
    return text_of(
        _phase_table(means),
        _rate_table(rate_rows(means, ours / theirs, flops, rate)),
        _memory_table(
            {**roles.pool.peak_memory(), **roles.learner.peak_memory(), "driver": peak_memory()}
        ),
    )


def update_flops(episodes: list[Episode], sizes: dict[str, int]) -> float:
    """Forward and backward: 6 per weight and token; the head sees completion tokens alone."""
    tokens = sum(len(e.token_ids) for e in episodes)
    drawn = sum(len(a.completion_ids) for e in episodes for a in e.attempts)
    return 6.0 * (sizes["body"] * tokens + sizes["head"] * drawn)


def _phase_table(means: dict[str, float]) -> Table:
    table = Table("phase", "seconds", "share", title="one iteration")
    for phase in PHASES:
        seconds = means[f"time/{phase}"]
        table.add_row(phase, f"{seconds:.3f}", f"{seconds / means['time/iteration']:.1%}")
    return table


def rate_rows(
    means: dict[str, float], slower: float, flops: float, rate: float
) -> list[tuple[str, str]]:
    """What was measured, named, from means per iteration.

    `slower` is our rollout time over vLLM's offline time; `flops` and `rate` are the
    learner's and the matrix product's, in FLOP/s.
    """
    busy = sum(means[f"time/{p}"] for p in ("rollout", "reference", "update"))
    sampled = means["tokens/sampled"] / means["time/rollout"]
    trained = means["tokens/trained"] / means["time/update"]
    return [
        ("sampled tokens / s of rollout", f"{sampled:,.0f}"),
        ("trained tokens / s of update", f"{trained:,.0f}"),
        ("rollout / vLLM offline, same prompts and lengths", f"{1 / slower:.2f}"),
        ("learner GFLOP/s", f"{flops / 1e9:.1f}"),
        ("float32 matrix product GFLOP/s", f"{rate / 1e9:.1f}"),
        ("learner / matrix product", f"{flops / rate:.2f}"),
        ("neither rollout, reference nor update", f"{1 - busy / means['time/iteration']:.1%}"),
    ]


def _rate_table(rows: list[tuple[str, str]]) -> Table:
    table = Table("what", "value", title="rates")
    for row in rows:
        table.add_row(*row)
    return table


def _memory_table(peaks: dict[str, float]) -> Table:
    table = Table("process", "GiB", title="peak memory")
    for name, gib in peaks.items():
        table.add_row(name, f"{gib:.2f}")
    return table


def text_of(*tables: Table) -> str:
    """Tables as plain text."""
    out = io.StringIO()
    console = Console(file=out, width=100)
    for table in tables:
        console.print(table)
    return out.getvalue()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _mean(records: list[dict[str, Any]], key: str) -> float:
    return sum(float(r.get(key, 0)) for r in records) / len(records)
