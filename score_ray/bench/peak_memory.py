"""Measures the most memory that a process has held at once."""

import resource
from typing import Any, NamedTuple


class PeakMemory(NamedTuple):
    """GiB of the node's memory, and of the GPU's as torch counts it."""

    host: float
    gpu: float


def peak_memory(_role: Any = None) -> PeakMemory:
    """Return the peaks of this process; an actor's engine or learner may be passed, unused."""
    import torch

    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    used = torch.cuda.is_initialized()
    return PeakMemory(host, torch.cuda.max_memory_reserved() / 2**30 if used else 0.0)
