"""Joining a Ray cluster, or starting and ending a private one on this machine."""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

# A private Ray listens on every interface of the machine unless told otherwise before its
# import; this is the switch by which it keeps to loopback on other systems.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import psutil
import ray

from score_ray.types import ConfigError

KEEP_VISIBLE = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"  # "0": for actors without GPUs, as they are
STOP_SECONDS = 5.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # children of a raylet


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
