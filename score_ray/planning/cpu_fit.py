"""Checks that nodes without GPUs have the cores and the memory that the processes of a run need."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from score_ray.config.config import Config
from score_ray.planning.gpus import GIB
from score_ray.planning.memory import WIDTH
from score_ray.planning.model_shape import ModelShape
from score_ray.types import ConfigError

# What a process holds besides a model: torch, and vLLM or DeepSpeed, with their libraries. An
# actor without a model was measured at 0.6 GiB, of which it shares a third with the others.
PROCESS = GIB // 2
# More processes of one role than this on a core take minutes to start, and sample no faster.
MOST_ON_A_CORE = 8
ACTOR, RANK = "rollout actor", "learner rank"
KEYS = {ACTOR: "rollout.num_actors", RANK: "learner.num_ranks"}
SMALLER = {
    ACTOR: "choose a smaller rollout.kv_cache_gb or model",
    RANK: "choose a smaller model",
}


@dataclass(frozen=True, slots=True)
class CpuDemand:
    """The processes of one role, and the bytes of memory that each of them needs at least."""

    role: str
    count: int
    memory: int

    def __str__(self) -> str:
        """Name the processes and what each needs."""
        plural = "s" if self.count > 1 else ""
        each = " each" if self.count > 1 else ""
        return f"{self.count} {self.role}{plural} ({_gib(self.memory)}{each})"


def cpu_demands(config: Config, shape: ModelShape) -> list[CpuDemand]:
    """Return the demands of both roles of a run without GPUs.

    An engine has the weights and its cache. A rank has policy, gradients and Adam's two moments,
    and the reference; from ZeRO-1 on the moments are shared out, from ZeRO-3 on all of it.
    """
    weights = shape.parameters * WIDTH[config.model.dtype]
    engine = weights + int(config.rollout.kv_cache_gb * GIB)
    ranks, stage = config.learner.num_ranks, config.learner.zero_stage
    if config.learner.lora.rank:
        states = weights
    elif stage == 3:
        states = (3 * weights + 8 * shape.parameters) // ranks
    else:
        states = 3 * weights + 8 * shape.parameters // (ranks if stage else 1)
    return [
        CpuDemand(ACTOR, config.rollout.num_actors, PROCESS + engine),
        CpuDemand(RANK, ranks, PROCESS + states),
    ]


def check_nodes(demands: Sequence[CpuDemand], nodes: Collection[Mapping[str, float]]) -> None:
    """Raise ConfigError, naming the key, if nodes are short of cores or memory.

    `nodes` have Ray's resources: "CPU", and "memory" and "object_store_memory" in bytes.
    """
    cores = sum(int(node.get("CPU", 0)) for node in nodes)
    memory = sum(node.get("memory", 0) + node.get("object_store_memory", 0) for node in nodes)
    where = "this machine has" if len(nodes) == 1 else f"the {len(nodes)} nodes have"
    _check_cores(demands, cores, where)
    if memory:
        _check_memory(demands, memory, where)


def _check_cores(demands: Sequence[CpuDemand], cores: int, where: str) -> None:
    most = MOST_ON_A_CORE * max(cores, 1)
    for demand in demands:
        if demand.count > most:
            raise ConfigError(
                f"{KEYS[demand.role]}={demand.count}: {where} no GPU and {cores} CPU "
                f"core{'s' if cores != 1 else ''}, enough for {most} {demand.role}s at most "
                f"({MOST_ON_A_CORE} on a core)"
            )


def _check_memory(demands: Sequence[CpuDemand], memory: float, where: str) -> None:
    needed = sum(demand.count * demand.memory for demand in demands)
    if needed <= memory:
        return
    largest = max(demands, key=lambda demand: demand.count * demand.memory)
    room = memory - (needed - largest.count * largest.memory)
    fewer = int(room // largest.memory)
    advice = f"{KEYS[largest.role]} can be {fewer}" if fewer > 0 else SMALLER[largest.role]
    raise ConfigError(
        f"{KEYS[largest.role]}={largest.count}: the run needs at least {_gib(needed)} of "
        f"memory for {' and '.join(map(str, demands))}; {where} {_gib(memory)}: {advice}"
    )


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
