"""Joining a Ray cluster, and a place on it for every process of a run."""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

# A private Ray listens on every interface of the machine unless told otherwise before its
# import; this is the switch by which it keeps to loopback on other systems.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import psutil
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from score_ray.placement.plan import Ask, apart, shortfall, threads_each
from score_ray.types import ConfigError, RunError

KEEP_VISIBLE = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"  # "0": for actors without GPUs, as they are
CPU_SHARE = 0.01  # roles take turns on the cores: a share says where a process is, not how much
STOP_SECONDS = 5.0
Check = Callable[[list[dict[str, float]]], None]  # of the nodes' Ray resources
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # children of a raylet


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


def start_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start a private one on this machine.

    Raises ConfigError if no cluster answers there.
    """
    # Logs of healthy workers would drown the progress display; errors travel as exceptions.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        _end_orphans()
        os.environ.setdefault(KEEP_VISIBLE, "0")
        # Ray's workers would run at niceness 15: every other process would slow the run down.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(address="local", include_dashboard=False, **_usable_gpus(), **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"RAY_ADDRESS={address}: cannot join this cluster: {error}") from error


def _usable_gpus() -> dict[str, int]:
    """No GPUs where torch is built without CUDA: Ray counts what the machine has."""
    from torch.backends import cuda

    return {} if cuda.is_built() else {"num_gpus": 0}


def stop_ray(own: Sequence[psutil.Process] = ()) -> None:
    """Leave the cluster; a private one, of the processes `own`, ends whatever its state is."""
    family = [p for root in own if root.is_running() for p in (root, *root.children(True))]
    # A shutdown that hangs comes back once the processes that it waits for are gone.
    late = threading.Timer(STOP_SECONDS, _end, [family])
    late.start()
    ray.shutdown()
    late.cancel()
    _end(family)


def _end_orphans() -> None:
    """End the agents of a Ray whose driver was killed: they outlive it by minutes."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() in AGENTS and process.uids().real == os.getuid():
                parent = process.parent()
                if parent is None or parent.name() != "raylet":
                    process.kill()


def _end(family: Sequence[psutil.Process]) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()


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
