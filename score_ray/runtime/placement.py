"""Joining a Ray cluster, and reserving a placement on it for every process of a run."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from score_ray.planning.machine import this_machine
from score_ray.runtime.ray_files import remove_session
from score_ray.runtime.ray_library import PlacementGroupSchedulingStrategy, ray
from score_ray.runtime.ray_session import (
    KEEP_VISIBLE,
    is_private,
    may_use_gpus,
    start_ray,
    stop_ray,
)
from score_ray.runtime.resources import (
    ResourceRequest,
    separate,
    shortfall,
    threads_per_process,
)
from score_ray.types import ConfigError, ProcessLost, RunError

CPU_SHARE = 0.01  # small, because all roles use all cores: it only decides where a process runs
CheckNodes = Callable[[list[dict[str, float]]], None]  # takes the nodes' Ray resources


@dataclass(frozen=True)
class Placement:
    """A bundle of the run's placement group, for one process and its successors."""

    group: Any
    bundle: int
    resources: dict[str, float]
    env: dict[str, str]
    gpu_holder: Any = None  # the actor that holds the bundle's GPUs, where processes share them
    gpu_number: int | None = None  # of the holder's GPUs, for a process of one; None: all of them

    @property
    def on_gpu(self) -> bool:
        """Whether a process here has a GPU, or a share of one."""
        return self.shared or bool(self.resources.get("GPU"))

    @property
    def shared(self) -> bool:
        """Whether a process here shares its GPUs with processes of another role."""
        return self.gpu_holder is not None

    def start(self, actor_class: type, *args: Any) -> Any:
        """Start a Ray actor here, from a class and its arguments, and return its handle."""
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

    def visible_gpus(self) -> Any:
        """Return a reference to CUDA_VISIBLE_DEVICES for a process; "" where Ray sets it.

        Call this at every start: a bundle whose node is lost comes back with other GPUs.
        """
        return self.gpu_holder.visible_gpus.remote(self.gpu_number) if self.shared else ""


@contextmanager
def placements(
    requests: Sequence[ResourceRequest],
    patience: float,
    deadline: float,
    check: CheckNodes = lambda nodes: None,
    announce: Callable[[], None] = lambda: None,
) -> Iterator[list[list[Placement]]]:
    """Start or join Ray and yield the placements of each request; leave Ray with the context.

    The placements of a request's colocated processes follow its own. Without GPUs nothing is
    shared. A cluster may take `patience` seconds to grow to what is requested, and `deadline`
    seconds to free it. `announce` is called just before Ray starts. Raises ConfigError naming
    the resources that are missing, or as `check` does for the nodes; RunError if the cluster
    stays busy.
    """
    if is_private() and not may_use_gpus():
        check([this_machine()])
    announce()
    with _running_ray():
        yield _reserve(requests, patience, deadline, check)


@contextmanager
def _running_ray() -> Iterator[None]:
    """Start or join Ray for a block, and remove the files of a private one if nothing failed."""
    driver = psutil.Process()
    before, started = driver.children(), []
    on_sigterm = signal.getsignal(signal.SIGTERM)
    session: Path | None = None
    try:
        session = start_ray()
        # Ray has set a handler of its own, which would end the driver without cleaning up.
        signal.signal(signal.SIGTERM, on_sigterm)
        started = [process for process in driver.children() if process not in before]
        yield
    except BaseException as error:
        if session and _needs_logs(error):
            error.add_note(f"Ray's logs are in {session / 'logs'}")
            session = None
        if isinstance(error, SystemExit) and error.code == signal.SIGTERM:
            raise KeyboardInterrupt from None  # so Ray's own handler ends the driver
        raise
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
        stop_ray(started or [process for process in driver.children() if process not in before])
        if session:
            remove_session(session)


def _needs_logs(error: BaseException) -> bool:
    """Return whether a process failed in a way that its logs may explain."""
    if isinstance(error, ConfigError | RunError):
        return isinstance(error.__cause__, ProcessLost)
    return isinstance(error, Exception)


def _reserve(
    requests: Sequence[ResourceRequest], patience: float, deadline: float, check: CheckNodes
) -> list[list[Placement]]:
    """Reserve a placement for every process, in the order of the requests."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    on_gpu = any(node.get("GPU") for node in nodes)
    requests = requests if on_gpu else separate(requests)
    short = shortfall(requests, [int(node.get("GPU", 0)) for node in nodes])
    if short and not patience:
        raise ConfigError(short)
    check(nodes)
    group = _placement_group(requests, on_gpu, patience if short else deadline, short)
    bundles = iter(range(group.bundle_count))
    reserved: list[list[Placement]] = []
    for request in requests:
        its_bundles = list(itertools.islice(bundles, request.count))
        if request.colocated:
            reserved += _shared_placements(group, its_bundles, request, nodes)
        else:
            env, needs = _thread_settings(request, nodes), _bundle_resources(request, on_gpu)
            reserved.append([Placement(group, bundle, needs, env) for bundle in its_bundles])
    return reserved


def _placement_group(
    requests: Sequence[ResourceRequest], on_gpu: bool, wait: float, short: str
) -> Any:
    """Reserve a bundle for every process; raise RunError if that takes over `wait` seconds."""
    # On GPUs few nodes are better, because of the network; on CPUs many, because of the cores.
    group = ray.util.placement_group(
        [_bundle_resources(request, on_gpu) for request in requests for _ in range(request.count)],
        strategy="PACK" if on_gpu else "SPREAD",
    )
    if not group.wait(wait):
        free = ray.available_resources().get("GPU" if on_gpu else "CPU", 0)
        raise RunError(
            f"the cluster did not make room within {wait:.0f} s: "
            f"{' and '.join(map(str, requests))} were asked for, {free:g} are free; "
            f"{short or 'others use the rest'}"
        )
    return group


def _shared_placements(
    group: Any,
    bundles: Sequence[int],
    request: ResourceRequest,
    nodes: Sequence[dict[str, float]],
) -> list[list[Placement]]:
    """Return placements for both roles: on all GPUs of a bundle, and on each GPU of it.

    Ray gives a whole GPU to one process only. So neither role asks Ray for GPUs: a holder has
    those of a bundle, and both roles ask the holder which they are.
    """
    holders = [_start_holder(group, bundle, request.gpus_each) for bundle in bundles]
    where = list(zip(bundles, holders, strict=True))
    main_env, colocated_env = (
        {KEEP_VISIBLE: "0", **_thread_settings(role, nodes)} for role in separate([request])
    )
    main = [Placement(group, bundle, {}, main_env, holder) for bundle, holder in where]
    colocated = [
        Placement(group, bundle, {}, colocated_env, holder, number)
        for bundle, holder in where
        for number in range(request.gpus_each)
    ]
    return [main, colocated]


class GpuHolder:
    """A Ray actor that holds the GPUs of a bundle for processes that share them.

    Where the bundle's node is lost, Ray starts the holder again with other GPUs.
    """

    def visible_gpus(self, number: int | None) -> str:
        """Return CUDA_VISIBLE_DEVICES for all of the GPUs, or for one of them."""
        names = os.environ["CUDA_VISIBLE_DEVICES"]
        return names if number is None else names.split(",")[number]


def _start_holder(group: Any, bundle: int, gpus: int) -> Any:
    options = ray.remote(GpuHolder).options(
        num_cpus=0,
        num_gpus=gpus,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, bundle),
    )
    return options.remote()


def _bundle_resources(request: ResourceRequest, on_gpu: bool) -> dict[str, float]:
    return {"GPU": float(request.gpus_each)} if on_gpu else {"CPU": CPU_SHARE}


def _thread_settings(request: ResourceRequest, nodes: Sequence[dict[str, float]]) -> dict[str, str]:
    """Return the environment that gives a role's processes all cores of the nodes they are on.

    By default Ray gives a process with GPUs one thread, too few for an offloaded optimizer step.
    """
    used = [node for node in nodes if node.get("GPU")] or nodes
    cores = [int(node["CPU"]) for node in used if node.get("CPU")] or [1]
    return {
        "OMP_NUM_THREADS": str(threads_per_process(min(cores), request.count, len(cores))),
        # Threads that wait for each other do not hold cores that another role could use.
        "OMP_WAIT_POLICY": "passive",
    }
