"""Joining a Ray cluster, and a place on it for every process of a run."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

# First: it says which interfaces a private Ray listens on, before Ray is imported.
from score_ray.runtime.ray_session import KEEP_VISIBLE, start_ray, stop_ray  # isort: skip
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from score_ray.runtime.resources import Ask, apart, shortfall, threads_each
from score_ray.types import ConfigError, RunError

CPU_SHARE = 0.01  # roles take turns on the cores: a share says where a process is, not how much
Check = Callable[[list[dict[str, float]]], None]  # of the nodes' Ray resources


@dataclass(frozen=True)
class Place:
    """Where a process runs: a bundle of the run's placement group; it outlives the process."""

    group: Any
    bundle: int
    resources: dict[str, float]
    env: dict[str, str]
    keeper: Any = None  # who has the GPUs, where processes share them
    number: int | None = None  # of the GPU among the keeper's; none: all of them

    @property
    def on_gpu(self) -> bool:
        """Whether a process here has a GPU, or a share of one."""
        return bool(self.keeper or self.resources.get("GPU"))

    def start(self, actor_class: type, *args: Any) -> Any:
        """A new Ray actor in this place, from a class and its arguments; returns its handle."""
        return (
            ray.remote(actor_class)
            .options(
                num_gpus=self.resources.get("GPU", 0),
                num_cpus=self.resources.get("CPU", 0),
                runtime_env={"env_vars": self.env},
                scheduling_strategy=PlacementGroupSchedulingStrategy(self.group, self.bundle),
            )
            .remote(*args)
        )

    def visible(self) -> Any:
        """A reference to what CUDA_VISIBLE_DEVICES is to be; "" where Ray sees to that itself.

        To be asked at each start: a bundle whose node is lost comes back with other GPUs.
        """
        return self.keeper.visible.remote(self.number) if self.keeper else ""


@contextmanager
def places(
    asks: Sequence[Ask], patience: float, deadline: float, check: Check = lambda nodes: None
) -> Iterator[list[list[Place]]]:
    """Ray, and for each ask its places; all of it ends with the context.

    The places of an ask's guests follow its own; without GPUs, nobody shares. A cluster may
    take `patience` seconds to grow to what is asked, and `deadline` seconds to free it. Raises
    ConfigError naming what is short, or what `check` finds wrong with the nodes' GPUs.
    """
    me = psutil.Process()
    before = me.children()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    start_ray()
    # Ray has put a handler of its own there, which ends the driver on the spot.
    signal.signal(signal.SIGTERM, on_sigterm)
    own = [process for process in me.children() if process not in before]
    try:
        yield _reserve(asks, patience, deadline, check)
    finally:
        stop_ray(own)


def _reserve(
    asks: Sequence[Ask], patience: float, deadline: float, check: Check
) -> list[list[Place]]:
    """A placement group with a bundle for every process asked for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    on_gpu = any(node.get("GPU") for node in nodes)
    asks = asks if on_gpu else apart(asks)
    short = shortfall(asks, [int(node.get("GPU", 0)) for node in nodes])
    if short and not patience:
        raise ConfigError(short)
    if on_gpu:
        check(nodes)
    # On GPUs few nodes are better, for the network's sake; on CPUs many, for the cores.
    group = ray.util.placement_group(
        [_resources(ask, on_gpu) for ask in asks for _ in range(ask.count)],
        strategy="PACK" if on_gpu else "SPREAD",
    )
    wait = patience if short else deadline
    if not group.wait(wait):
        free = ray.available_resources().get("GPU" if on_gpu else "CPU", 0)
        raise RunError(
            f"the cluster did not make room within {wait:.0f} s: {' and '.join(map(str, asks))} "
            f"were asked for, {free:g} are free; {short or 'others use the rest'}"
        )
    bundles = iter(range(group.bundle_count))
    found: list[list[Place]] = []
    for ask in asks:
        own = list(itertools.islice(bundles, ask.count))
        if ask.guests:
            found += _shared(group, own, ask, nodes)
        else:
            env, needs = _threads(ask, nodes), _resources(ask, on_gpu)
            found.append([Place(group, bundle, needs, env) for bundle in own])
    return found


def _shared(
    group: Any, bundles: Sequence[int], ask: Ask, nodes: Sequence[dict[str, float]]
) -> list[list[Place]]:
    """Places for hosts, one in every bundle and over all its GPUs, and for a guest on each GPU.

    Ray gives away a GPU once, and in shares only to who wants less than one. So neither asks
    for any: a keeper has those of a bundle, and tells.
    """
    keepers = [_keeper(group, bundle, ask.gpus) for bundle in bundles]
    where = list(zip(bundles, keepers, strict=True))
    for_hosts, for_guests = ({KEEP_VISIBLE: "0", **_threads(role, nodes)} for role in apart([ask]))
    hosts = [Place(group, bundle, {}, for_hosts, keeper) for bundle, keeper in where]
    guests = [
        Place(group, bundle, {}, for_guests, keeper, number)
        for bundle, keeper in where
        for number in range(ask.gpus)
    ]
    return [hosts, guests]


class Keeper:
    """Has the GPUs of a bundle; where the bundle's node is lost Ray starts it anew with others."""

    def visible(self, number: int | None) -> str:
        """What CUDA_VISIBLE_DEVICES is to be for all of the GPUs, or for one of them."""
        names = os.environ["CUDA_VISIBLE_DEVICES"]
        return names if number is None else names.split(",")[number]


def _keeper(group: Any, bundle: int, gpus: int) -> Any:
    options = ray.remote(Keeper).options(
        num_cpus=0,
        num_gpus=gpus,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, bundle),
    )
    return options.remote()


def _resources(ask: Ask, on_gpu: bool) -> dict[str, float]:
    return {"GPU": float(ask.gpus)} if on_gpu else {"CPU": CPU_SHARE}


def _threads(ask: Ask, nodes: Sequence[dict[str, float]]) -> dict[str, str]:
    """Of each process of a role, which may have all cores of the nodes that roles are on.

    Left to itself Ray gives a process with GPUs one thread: too few for an offloaded step.
    """
    used = [node for node in nodes if node.get("GPU")] or nodes
    cores = [int(node["CPU"]) for node in used if node.get("CPU")] or [1]
    return {
        "OMP_NUM_THREADS": str(threads_each(min(cores), ask.count, len(cores))),
        # Threads that wait for each other do not hold cores that another role could use.
        "OMP_WAIT_POLICY": "passive",
    }
