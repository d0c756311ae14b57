"""Measure what a recipe costs on this machine: seconds by phase, rates and peak memory.

Two rates to compare with are measured in the same run, so that the ratios mean something on a
noisy machine: vLLM's own offline generation of the same prompts and lengths, and a matrix
product on the learner's devices.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.table import Table

from score_ray.bench.matmul_rate import learner_matmul_rate
from score_ray.bench.offline_generation import offline_seconds
from score_ray.bench.peak_memory import PeakMemory, peak_memory
from score_ray.bench.text_tables import table, text_of
from score_ray.config.config import Config
from score_ray.planning.flops import update_flops
from score_ray.planning.model_shape import read_shape
from score_ray.reporting.metrics import TRANSFER, StepResult
from score_ray.reporting.run_folder import RunFolder
from score_ray.training.inputs import Inputs
from score_ray.training.iteration import draw, training_plan
from score_ray.training.protocols import Roles
from score_ray.training.trainer import Trainer

PHASES = ("rollout", "grade", "reference", "update", "broadcast", "iteration")


@dataclass(frozen=True, slots=True)
class MeanStep:
    """The mean measures of some iterations."""

    seconds: dict[str, float]  # by phase; "iteration" is the whole
    transfer: float  # seconds of the weight transfer, which is part of the broadcast
    sampled_tokens: float
    trained_tokens: float


@dataclass(frozen=True, slots=True)
class RecipeCost:
    """The mean cost of an iteration of a recipe on this machine."""

    step: MeanStep
    update_flops: float  # per second of update, all ranks together
    matmul_flops: float  # per second of matrix products on all ranks at once
    memory: dict[str, PeakMemory]  # by process


def run(roles: Roles, inputs: Inputs, iterations: int, folder: RunFolder) -> str:
    """Measure `iterations` iterations after a first one to warm up; return tables as text."""
    cost = measure(roles, inputs, iterations, folder)
    against_offline = _against_offline(roles, inputs.config, iterations)
    return text_of(
        _phase_table(cost.step),
        table("rates", ("what", "value"), rate_rows(cost, against_offline)),
        memory_table(cost.memory),
    )


def measure(roles: Roles, inputs: Inputs, iterations: int, folder: RunFolder) -> RecipeCost:
    """Measure iterations, and then matrix products on the ranks' devices and memory."""
    mean = mean_of(measured_steps(roles, inputs.config, iterations, folder))
    shape = read_shape(inputs.model, inputs.config.model.path)
    rates = roles.learner.run_on_ranks(
        "measuring a matrix product", learner_matmul_rate, inputs.config.model.dtype
    )
    of_ranks = roles.learner.run_on_ranks("reporting its memory", peak_memory)
    of_actors = roles.pool.run_on_engines("reporting its memory", peak_memory)
    work = update_flops(inputs.config, shape, mean.trained_tokens, mean.sampled_tokens)
    return RecipeCost(
        mean,
        work / mean.seconds["update"],
        sum(rates.values()),
        {**of_actors, **of_ranks, "driver": peak_memory()},
    )


def measured_steps(
    roles: Roles, config: Config, iterations: int, folder: RunFolder
) -> list[StepResult]:
    """Run `iterations` iterations after a first one to warm up, and return their results."""
    trainer = Trainer(roles, config, folder)
    roles.channel.broadcast(0)
    with trainer.collector() as collector:
        return [trainer.step(collector, number) for number in range(iterations + 1)][1:]


def mean_of(steps: Sequence[StepResult]) -> MeanStep:
    """Return the means of some iterations; a phase or a transfer that one lacks counts as 0."""
    phases = steps[0].seconds
    return MeanStep(
        {phase: fmean(step.seconds.get(phase, 0.0) for step in steps) for phase in phases},
        fmean(step.all_seconds.get(TRANSFER, 0.0) for step in steps),
        fmean(step.episodes.sampled_tokens for step in steps),
        fmean(step.trained_tokens for step in steps),
    )


def _against_offline(roles: Roles, config: Config, iterations: int) -> float:
    """Return the time of vLLM's offline generation over that of a rollout of the same episodes."""
    count, weights = config.rollout.problems, config.task.weights
    problems = draw(roles.train, count, config.seed, iterations, weights)
    plan = training_plan(config, iterations)
    began = time.perf_counter()
    episodes = [episode for part in roles.pool.sample(problems, plan) for episode in part]
    rollout = time.perf_counter() - began
    count = config.rollout.num_actors
    shares = [(episodes[number::count],) for number in range(count)]
    seconds = roles.pool.run_on_engines("generating offline", offline_seconds, shares)
    return max(seconds.values()) / rollout


def rate_rows(cost: RecipeCost, against_offline: float) -> list[tuple[str, str]]:
    """Return the rates by name; `against_offline` is vLLM's offline time over the rollout's."""
    step, seconds = cost.step, cost.step.seconds
    other = 1 - sum(seconds[p] for p in ("rollout", "reference", "update")) / seconds["iteration"]
    return [
        ("sampled tokens / s of rollout", f"{step.sampled_tokens / seconds['rollout']:,.0f}"),
        ("trained tokens / s of update", f"{step.trained_tokens / seconds['update']:,.0f}"),
        ("rollout / vLLM offline, same prompts and lengths", f"{against_offline:.2f}"),
        ("learner GFLOP/s", f"{cost.update_flops / 1e9:.1f}"),
        ("matrix product GFLOP/s, same devices and dtype", f"{cost.matmul_flops / 1e9:.1f}"),
        ("learner / matrix product", f"{cost.update_flops / cost.matmul_flops:.2f}"),
        ("neither rollout, reference nor update", f"{other:.1%}"),
        ("weight transfer, s", f"{step.transfer:.3f}"),
    ]


def memory_table(peaks: dict[str, PeakMemory]) -> Table:
    """Return a table of peak memory by process; GPUs have a column where there are some."""
    on_gpu = any(peak.gpu for peak in peaks.values())
    rows = [(name, f"{host:.2f}", *[f"{gpu:.2f}"] * on_gpu) for name, (host, gpu) in peaks.items()]
    return table("peak memory", ("process", "GiB", *["GiB of its GPU"] * on_gpu), rows)


def _phase_table(step: MeanStep) -> Table:
    whole = step.seconds["iteration"]
    taken = [(phase, step.seconds[phase]) for phase in PHASES]
    rows = [(phase, f"{seconds:.3f}", f"{seconds / whole:.1%}") for phase, seconds in taken]
    return table("one iteration", ("phase", "seconds", "share"), rows)
