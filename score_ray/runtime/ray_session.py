"""Joins a Ray cluster, or starts and ends a private one on this machine."""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psutil

from score_ray.runtime.ray_library import ray
from score_ray.types import ConfigError

# With "0", Ray leaves CUDA_VISIBLE_DEVICES as it is for actors that ask for no GPU.
KEEP_VISIBLE = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"
STOP_SECONDS = 5.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # children of a raylet


def start_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start a private one on this machine.

    Raises ConfigError if no cluster answers at that address.
    """
    # Logs of healthy workers would drown the progress display; errors travel as exceptions.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        _kill_orphaned_agents()
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
    """Return the option that hides the machine's GPUs from Ray if torch has no CUDA."""
    from torch.backends import cuda

    return {} if cuda.is_built() else {"num_gpus": 0}


def stop_ray(processes: Sequence[psutil.Process] = ()) -> None:
    """Leave the cluster, and kill `processes`, those of a private one, with their children."""
    tree = [p for root in processes if root.is_running() for p in (root, *root.children(True))]
    # A shutdown that hangs returns once the processes that it waits for are gone.
    timer = threading.Timer(STOP_SECONDS, _kill, [tree])
    timer.start()
    ray.shutdown()
    timer.cancel()
    _kill(tree)


def _kill_orphaned_agents() -> None:
    """Kill the agents of a Ray whose driver was killed, which would live on for minutes."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() in AGENTS and process.uids().real == os.getuid():
                parent = process.parent()
                if parent is None or parent.name() != "raylet":
                    process.kill()


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
