"""Checks that a GPU has the memory that a run needs, and gives advice if it has not."""

from collections.abc import Callable, Iterable

from score_ray.config.config import Config
from score_ray.config.loading import parse
from score_ray.config.overrides import apply_override
from score_ray.planning.gpus import GIB, Gpu
from score_ray.planning.memory import (
    ASLEEP,
    Demand,
    MemoryPlan,
    cache_per_token,
    engine_demand,
    learner_demand,
    plan_memory,
)
from score_ray.planning.model_shape import ModelShape
from score_ray.types import ConfigError


def check_memory(config: Config, shape: ModelShape, gpu: Gpu) -> None:
    """Raise ConfigError if the GPU is too small, saying by how much and what would help."""
    sentences = shortages(config, shape, gpu)
    if sentences:
        raise ConfigError("\n".join(sentences))


def shortages(config: Config, shape: ModelShape, gpu: Gpu) -> list[str]:
    """Return sentences on each shortage of memory and its remedies; [] if the run fits."""
    plan = plan_memory(config, shape, gpu)
    return [
        *_learner_shortage(config, shape, gpu, plan),
        *_engine_shortage(config, shape, gpu, plan),
        *(_shared_gpu_shortages(config, shape, gpu) if config.rollout.share_gpus else []),
    ]


def _learner_shortage(config: Config, shape: ModelShape, gpu: Gpu, plan: MemoryPlan) -> list[str]:
    sleeping = ASLEEP if config.rollout.share_gpus else 0
    short = plan.learner.total + sleeping - gpu.memory
    if short <= 0:
        return []
    also = f" next to a sleeping engine's {_gib(sleeping)}" if sleeping else ""
    return [
        f"a learner rank needs {_gib(plan.learner.total)}{also}, {gpu.name} has "
        f"{_gib(gpu.memory)}: {_gib(short)} short; {_largest(plan.learner)}",
        f"  what would help: {_remedies(config, short, lambda c: learner_demand(c, shape).total)}",
    ]


def _engine_shortage(config: Config, shape: ModelShape, gpu: Gpu, plan: MemoryPlan) -> list[str]:
    missing = config.model.max_length - plan.cache_tokens
    if missing <= 0:
        return []
    short = missing * cache_per_token(config, shape)
    return [
        f"an engine needs {_gib(plan.share + short)} with a cache for one episode, "
        f"rollout.gpu_memory={config.rollout.gpu_memory:g} of {gpu.name} gives it "
        f"{_gib(plan.share)}: {_gib(short)} short; {_largest(plan.engine)}",
        f"  what would help: {_engine_remedies(config)}",
    ]


def _shared_gpu_shortages(config: Config, shape: ModelShape, gpu: Gpu) -> list[str]:
    """Return the shortages of an engine next to a sleeping rank, and of a broadcast with both."""
    sentences = []
    share = plan_memory(config, shape, gpu).share
    if (short := share + ASLEEP - gpu.memory) > 0:
        most = int((1 - ASLEEP / gpu.memory) * 100) / 100
        sentences += [
            f"an engine's {_gib(share)} and a sleeping learner rank's {_gib(ASLEEP)} are "
            f"{_gib(short)} more than {gpu.name} has",
            f"  what would help: rollout.gpu_memory={most:g}",
        ]

    def both(changed: Config) -> int:
        weights = dict(engine_demand(changed, shape).items)["weights"]
        return plan_memory(changed, shape, gpu).held + weights + ASLEEP

    if (short := both(config) - gpu.memory) > 0:
        sentences += [
            f"a broadcast needs {_gib(both(config))} for a learner rank and an engine's "
            f"weights; {gpu.name} has {_gib(gpu.memory)}: {_gib(short)} short",
            f"  what would help: rollout.share_gpus=false, {_remedies(config, short, both)}",
        ]
    return sentences


def _remedies(config: Config, short: int, size: Callable[[Config], int]) -> str:
    """Return overrides that make `size` smaller, those that save most first.

    It says of each whether it is enough or how much it saves, and how many together are enough.
    """
    before = size(config)
    saved = {c: before - size(changed(config, c.split())) for c in _learner_changes(config)}
    best = sorted((c for c in saved if saved[c] > 0), key=lambda c: -saved[c])
    texts = [f"{c} ({'enough' if saved[c] >= short else f'saves {_gib(saved[c])}'})" for c in best]
    together = config
    for count, change in enumerate(best, start=1):
        together = changed(together, change.split())
        if count > 1 and before - size(together) >= short > saved[best[0]]:
            texts.append(f"the first {count} of these together are enough")
            break
    return ", ".join([*texts, "a larger GPU"])


def _learner_changes(config: Config) -> Iterable[str]:
    learner, length = config.learner, config.model.max_length
    if config.model.dtype == "float32":
        yield "model.dtype=bfloat16"
    if not learner.gradient_checkpointing:
        yield "learner.gradient_checkpointing=true"
    if learner.tokens_per_micro_batch > length:
        yield f"learner.tokens_per_micro_batch={length}"
    if learner.logits_mb > 256:
        yield "learner.logits_mb=256"
    if not learner.offload_optimizer:
        stage = "" if learner.zero_stage else " learner.zero_stage=2"
        yield f"learner.offload_optimizer=true{stage}"
    ranks = max(8, 2 * learner.num_ranks)
    engines = f" rollout.num_actors={ranks // config.rollout.tensor_parallel}"
    yield f"learner.zero_stage=3 learner.num_ranks={ranks}" + engines * config.rollout.share_gpus
    if not learner.lora.rank:
        yield "learner.lora.rank=32"


def _engine_remedies(config: Config) -> str:
    rollout = config.rollout
    more = ["rollout.gpu_memory=0.92"] if rollout.gpu_memory < 0.92 else []
    fewer = [f"rollout.max_running={rollout.max_running // 2}"] if rollout.max_running > 64 else []
    parts = [f"rollout.tensor_parallel={2 * rollout.tensor_parallel}"]
    return ", ".join([*more, *parts, *fewer, "a smaller model.max_length", "a larger GPU"])


def changed(config: Config, overrides: Iterable[str]) -> Config:
    """Return the config with overrides, checked like a config that is loaded."""
    tree = config.model_dump(mode="json")
    for override in overrides:
        apply_override(tree, override)
    return parse(tree, config.name)


def _largest(demand: Demand) -> str:
    parts = sorted(demand.items, key=lambda item: -item[1])[:3]
    return f"most of it is {', '.join(f'{name} ({_gib(size)})' for name, size in parts)}"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
