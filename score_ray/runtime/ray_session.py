"""Joins a Ray cluster, or starts and ends a private one on this machine."""

import os
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from score_ray.runtime.open_files import check_open_files
from score_ray.runtime.ray_address import check_address
from score_ray.runtime.ray_files import folder_for_ray
from score_ray.runtime.ray_library import RayError, find_cluster, ray
from score_ray.types import ConfigError, RunError

# With "0", Ray leaves CUDA_VISIBLE_DEVICES as it is for actors that ask for no GPU.
KEEP_VISIBLE = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"
STOP_SECONDS = 5.0
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Logs of healthy workers would drown the progress display; errors travel as exceptions.
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # children of a raylet


def start_ray() -> Path | None:
    """Join the cluster that RAY_ADDRESS names, or start a private one on this machine.

    Returns the folder with the files of a private one, None for a cluster. Raises ConfigError if
    no cluster answers at that address, and RunError if a private one does not start.
    """
    if is_private():
        return _start_private()
    address = os.environ["RAY_ADDRESS"]
    check_address(address)
    try:
        if address == "auto":
            # Ray may find the address of a cluster that has ended, and would wait for it.
            check_address(str(find_cluster(address)), address)
        ray.init(address=address, **QUIET)
    except ConfigError:
        raise
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = first_line(error)
        raise ConfigError(f"RAY_ADDRESS={address}: cannot join this cluster: {reason}") from error
    return None


def is_private() -> bool:
    """Return whether a run starts a Ray of its own: RAY_ADDRESS names no cluster."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


def _start_private() -> Path:
    check_open_files()
    folder = folder_for_ray()
    _kill_orphaned_agents()
    os.environ.setdefault(KEEP_VISIBLE, "0")
    # Ray's workers would run at niceness 15: every other process would slow the run down.
    os.environ.setdefault("RAY_worker_niceness", "0")
    options: dict[str, Any] = {"include_dashboard": False, "_temp_dir": str(folder)}
    try:
        context = ray.init(address="local", **options, **_usable_gpus(), **QUIET)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise RunError(
            f"Ray does not start on this machine: {first_line(error)}; its logs are in "
            f"{folder}/session_latest/logs"
        ) from error
    return Path(context.address_info["session_dir"])


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without the colours that Ray prints it in."""
    lines = [line.strip() for line in COLOUR.sub("", str(error)).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _usable_gpus() -> dict[str, int]:
    """Return the option that hides the machine's GPUs from Ray if torch has no CUDA."""
    return {} if may_use_gpus() else {"num_gpus": 0}


def may_use_gpus() -> bool:
    """Return whether this machine's torch can use GPUs, if there are any."""
    from torch.backends import cuda

    return cuda.is_built()


def stop_ray(processes: Sequence[psutil.Process] = ()) -> None:
    """Leave the cluster, and kill `processes`, those of a private one, with their children."""
    tree = [p for root in processes if root.is_running() for p in (root, *root.children(True))]
    if not ray.is_initialized():
        _kill(tree)  # a start that was cut short has nothing to shut down
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
