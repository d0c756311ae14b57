"""Measures the FLOP/s of a large matrix product, the upper bound of a device in practice."""

import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from score_ray.learner.learner import Learner

SIZE = {"cpu": 1536, "cuda": 8192}


def learner_matmul_rate(learner: "Learner", dtype: str) -> float:
    """Return the FLOP/s of matrix products of that type on a learner rank's device."""
    return matmul_rate(learner.device, getattr(torch, dtype))


def matmul_rate(
    device: torch.device, dtype: torch.dtype, size: int = 0, seconds: float = 2.0
) -> float:
    """Return the FLOP/s of a square matrix product, the best of those made in `seconds`."""
    size = size or SIZE[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        torch.mm(a, b)
        _wait_for(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _wait_for(device: torch.device) -> None:
    """Return when the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
