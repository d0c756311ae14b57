"""What a device can do at best, to compare with: a large matrix product."""

import time

import torch

SIZE = {"cpu": 1536, "cuda": 8192}


def matmul_rate(
    device: torch.device, dtype: torch.dtype, size: int = 0, seconds: float = 2.0
) -> float:
    """FLOP/s of a square matrix product of this process, the best of repeated ones."""
    size = size or SIZE[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        torch.mm(a, b)
        _finish(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _finish(device: torch.device) -> None:
    """Return when the device has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
