"""The command line of planning: `launch.py plan` says what a run would need and take."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from score_ray.cli.arguments import Overrides, Recipe
from score_ray.config.config import Config, ConfigError, load
from score_ray.planning import fit, gpus, memory
from score_ray.planning.expected_time import Expected, Tokens, expect, tokens_of
from score_ray.planning.gpus import GIB, Gpu
from score_ray.planning.memory import Plan
from score_ray.planning.model_shape import ModelShape, read_shape
from score_ray.runtime.resources import Ask, sharing, shortfall
from score_ray.training.model_source import CACHE, resolve

GPUS_OF_NODE = 8


def plan(
    config: Recipe,
    overrides: Overrides = None,
    gpu: Annotated[str, typer.Option(help="its name; default: this machine's")] = "",
    num_gpus: Annotated[int, typer.Option("--gpus", help="there are, 8 a node; 0: enough")] = 0,
    prompt: Annotated[int, typer.Option(help="tokens of an episode's prompts, on average")] = 0,
    attempt: Annotated[int, typer.Option(help="tokens of an attempt; 0: half the longest")] = 0,
) -> None:
    """Compute what a run needs of its GPUs and how long it takes; exit 1 if something is short."""
    chosen = load(config, overrides or [])
    kind = gpus.named(gpu) if gpu else gpus.local()
    if kind is None:
        raise ConfigError(f"--gpu: this machine has none; name one of {', '.join(gpus.GPUS)}")
    shape = read_shape(_place(chosen.model.path), chosen.model.path)
    own = memory.plan(chosen, shape, kind)
    console = Console(highlight=False)
    console.print(_heading(chosen, shape, kind), soft_wrap=True)
    console.print(table(chosen, shape, own, kind))
    faults = [*_too_few(chosen, num_gpus), *fit.faults(chosen, shape, kind)]
    if faults:
        raise ConfigError("\n".join(faults))
    tokens = tokens_of(chosen, prompt, attempt)
    found = expect(chosen, shape, kind, own, tokens)
    console.print(duration(chosen, found, tokens), soft_wrap=True)


def asks(config: Config) -> list[Ask]:
    """The GPUs of each role, or of both where they share them."""
    own = config.rollout
    actors = Ask("rollout actor", own.num_actors, own.tensor_parallel)
    ranks = Ask("learner rank", config.learner.num_ranks)
    return [sharing(actors, ranks)] if own.share_gpus else [actors, ranks]


def table(config: Config, shape: ModelShape, own: Plan, gpu: Gpu) -> Table:
    """Memory of one GPU of each role, by item."""
    share = config.rollout.share_gpus
    count = f"{config.rollout.num_actors} x {config.rollout.tensor_parallel} GPU"
    shown = Table(
        "GiB of one GPU",
        f"learner rank\n{config.learner.num_ranks} x 1 GPU",
        f"engine\n{count}",
    )
    learner, engine = dict(own.learner.items), dict(own.engine.items)
    engine["cache"] = max(own.share - own.engine.total, 0)
    beside = memory.ASLEEP if share else 0
    learner["of a sleeping engine"] = engine["of a sleeping learner"] = beside
    for item in dict.fromkeys([*learner, *engine]):
        if learner.get(item) or engine.get(item):
            shown.add_row(item, _number(learner.get(item)), _number(engine.get(item)))
    shown.add_section()
    free = gpu.memory - own.learner.total - beside
    shown.add_row("free", _number(free), _number(gpu.memory - own.share - beside))
    shown.add_row("node's memory", _number(own.learner.host), _number(own.engine.host))
    shown.add_row("longest episodes in the cache", "", str(_episodes(config, own)))
    return shown


def duration(config: Config, found: Expected, tokens: Tokens) -> str:
    """What an iteration and the run should take, in sentences."""
    episodes = config.rollout.problems * config.rollout.samples
    phases = ("rollout", "reference", "update", "broadcast", "turns")
    parts = ", ".join(f"{p} {getattr(found, p):.1f}" for p in phases if getattr(found, p))
    return (
        f"computed, not measured: {found.iteration:.0f} s an iteration ({parts}) of {episodes} "
        f"episodes with {tokens.read:.0f} tokens read and {tokens.drawn:.0f} drawn on average\n"
        f"{config.iterations} iterations: {config.iterations * found.iteration / 3600:.1f} hours, "
        "without starting, grading and evaluations"
    )


def _heading(config: Config, shape: ModelShape, gpu: Gpu) -> str:
    total = sum(ask.count * ask.gpus for ask in asks(config))
    return (
        f"{config.name}: {config.model.path}, {shape.parameters / 1e9:.2f} billion weights, "
        f"{config.model.dtype}, on {total} x {gpu.name} ({gpu.memory / GIB:.1f} GiB)"
    )


def _too_few(config: Config, num_gpus: int) -> list[str]:
    if not num_gpus:
        return []
    nodes = [GPUS_OF_NODE] * (num_gpus // GPUS_OF_NODE) + [num_gpus % GPUS_OF_NODE]
    short = shortfall(asks(config), [node for node in nodes if node])
    return [short] if short else []


def _place(path: str) -> str:
    try:
        return resolve(path, CACHE)
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _episodes(config: Config, own: Plan) -> int:
    return max(own.cache_tokens // config.model.max_length, 0)


def _number(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.1f}"
