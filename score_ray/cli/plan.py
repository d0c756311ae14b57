"""`score-ray plan`: compute what a run would need and how long it would take."""

from typing import TYPE_CHECKING, Annotated

import typer

from score_ray.cli.arguments import Overrides, Recipe
from score_ray.types import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from score_ray.config.config import Config
    from score_ray.planning.expected_time import Expected, Tokens
    from score_ray.planning.gpus import Gpu
    from score_ray.planning.memory import MemoryPlan
    from score_ray.planning.model_shape import ModelShape

PHASES = ("rollout", "reference", "update", "broadcast", "colocation")


def plan(
    config: Recipe,
    overrides: Overrides = None,
    gpu: Annotated[str, typer.Option(help="The kind of GPU.", show_default="this machine's")] = "",
    num_gpus: Annotated[
        int,
        typer.Option(
            "--gpus", help="GPUs that there are, 8 to a node; 0 for enough of them.", min=0
        ),
    ] = 0,
    prompt: Annotated[
        int, typer.Option(help="Mean prompt tokens of an episode; 0 for half of the room.", min=0)
    ] = 0,
    attempt: Annotated[
        int, typer.Option(help="Mean tokens of an attempt; 0 for half of the limit.", min=0)
    ] = 0,
) -> None:
    """Compute what a run needs of its GPUs and how long it takes; exit 1 if something is short."""
    from score_ray.config.loading import load

    chosen = load(config, overrides or [])

    from rich.console import Console

    from score_ray.planning import fit, memory
    from score_ray.planning.expected_time import expect, mean_tokens
    from score_ray.planning.model_shape import read_shape

    kind = _kind_of_gpu(gpu)
    shape = read_shape(_resolved(chosen.model.path), chosen.model.path)
    needs = memory.plan_memory(chosen, shape, kind)
    console = Console(highlight=False)
    console.print(_heading(chosen, shape, kind), soft_wrap=True, markup=False)
    console.print(table(chosen, shape, needs, kind))
    faults = [*_too_few(chosen, num_gpus), *fit.shortages(chosen, shape, kind)]
    if faults:
        raise ConfigError("\n".join(faults))
    tokens = mean_tokens(chosen, prompt, attempt)
    expected = expect(chosen, shape, kind, needs, tokens)
    console.print(duration(chosen, expected, tokens), soft_wrap=True)


def table(config: "Config", shape: "ModelShape", needs: "MemoryPlan", gpu: "Gpu") -> "Table":
    """Return the memory of one GPU of each role, by item."""
    from rich.table import Table

    from score_ray.planning import memory

    rollout = config.rollout
    shown = Table(
        "GiB of one GPU",
        f"learner rank\n{config.learner.num_ranks} x 1 GPU",
        f"engine\n{rollout.num_actors} x {rollout.tensor_parallel} GPU",
    )
    learner, engine = dict(needs.learner.items), dict(needs.engine.items)
    engine["cache"] = max(needs.share - needs.engine.total, 0)
    sleeping = memory.ASLEEP if rollout.share_gpus else 0
    learner["of a sleeping engine"] = engine["of a sleeping learner"] = sleeping
    for item in dict.fromkeys([*learner, *engine]):
        if learner.get(item) or engine.get(item):
            shown.add_row(item, _gib(learner.get(item)), _gib(engine.get(item)))
    shown.add_section()
    free = gpu.memory - needs.learner.total - sleeping
    shown.add_row("free", _gib(free), _gib(gpu.memory - needs.share - sleeping))
    shown.add_row("node's memory", _gib(needs.learner.host), _gib(needs.engine.host))
    episodes = max(needs.cache_tokens // config.model.max_length, 0)
    shown.add_row("longest episodes in the cache", "", str(episodes))
    return shown


def duration(config: "Config", expected: "Expected", tokens: "Tokens") -> str:
    """Return what an iteration and the run should take, in sentences."""
    episodes = config.rollout.problems * config.rollout.samples
    seconds = {phase: getattr(expected, phase) for phase in PHASES}
    parts = ", ".join(f"{phase} {n:.1f}" for phase, n in seconds.items() if n)
    hours = config.iterations * expected.iteration / 3600
    return (
        f"computed, not measured: {expected.iteration:.0f} s an iteration ({parts}) of {episodes} "
        f"episodes with {tokens.read:.0f} tokens read and {tokens.sampled:.0f} sampled on average\n"
        f"{config.iterations} iterations: {hours:.1f} hours, "
        "without starting, grading and evaluations"
    )


def _kind_of_gpu(name: str) -> "Gpu":
    from score_ray.planning import gpus

    kind = gpus.named(name) if name else gpus.local()
    if kind is None:
        raise ConfigError(f"--gpu: this machine has none; name one of {', '.join(gpus.GPUS)}")
    return kind


def _heading(config: "Config", shape: "ModelShape", gpu: "Gpu") -> str:
    return (
        f"{config.name}: {config.model.path}, {shape.parameters / 1e9:.2f} billion weights, "
        f"{config.model.dtype}, on {config.num_gpus} x {gpu.name} ({gpu.memory / 2**30:.1f} GiB)"
    )


def _too_few(config: "Config", num_gpus: int) -> list[str]:
    from score_ray.planning.gpus import GPUS_PER_NODE
    from score_ray.runtime.resources import shortfall, training_requests

    if not num_gpus:
        return []
    nodes = [GPUS_PER_NODE] * (num_gpus // GPUS_PER_NODE) + [num_gpus % GPUS_PER_NODE]
    short = shortfall(training_requests(config), [node for node in nodes if node])
    return [short] if short else []


def _resolved(path: str) -> str:
    from score_ray.config.loading import input_errors
    from score_ray.training.model_source import CACHE, resolve

    with input_errors():
        return resolve(path, CACHE)


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**30:.1f}"
