"""Reads how many cores and how much memory this machine, or its container, has."""

import os
from pathlib import Path

import psutil

QUOTA = Path("/sys/fs/cgroup/cpu.max")
# The limits of memory of a container: of version 2 of control groups, and of version 1.
MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def usable_cores(quota: Path = QUOTA) -> int:
    """Return the number of cores that this process may use, within its container's quota."""
    cores = len(os.sched_getaffinity(0))
    limit, _, period = (quota.read_text().strip() if quota.is_file() else "max").partition(" ")
    return cores if limit == "max" else max(1, min(cores, int(limit) // int(period)))


def usable_memory() -> int:
    """Return the bytes of memory of this machine, or of its container if that has fewer."""
    texts = [path.read_text().strip() for path in MEMORY_LIMITS if path.is_file()]
    limits = [int(text) for text in texts if text.isdigit() and int(text) > 0]
    return min([psutil.virtual_memory().total, *limits])


def this_machine() -> dict[str, float]:
    """Return the resources of this machine, as Ray has them of a node without GPUs."""
    return {"CPU": float(usable_cores()), "memory": float(usable_memory())}
