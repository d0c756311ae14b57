"""GPUs by name: how much memory each has, and how fast it is on paper.

The names are those of Ray's `accelerator_type:NAME` resources (ray.util.accelerators).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from score_ray.types import ConfigError

GIB = 2**30
PREFIX = "accelerator_type:"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU: bytes of memory, bfloat16 operations and bytes of memory per second."""

    name: str
    memory: int
    flops: float
    bandwidth: float


def _gpu(name: str, gib: float, tera_flops: float, terabytes: float) -> Gpu:
    return Gpu(name, int(gib * GIB), tera_flops * 1e12, terabytes * 1e12)


# Memory is what torch reports as a device's total, rounded down: 1 to 2 % less than the name
# says. Speeds are the data sheets': dense bfloat16 with float32 sums, SXM where there is one.
GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("A100-40G", 39.3, 312, 1.55),
        _gpu("A100-80G", 79.0, 312, 2.0),
        _gpu("H100", 79.0, 989, 3.35),
        _gpu("H200", 139.5, 989, 4.8),
        _gpu("B200", 178.0, 2250, 7.7),
        _gpu("L4", 22.0, 121, 0.3),
        _gpu("L40S", 44.3, 362, 0.86),
        _gpu("GeForce-RTX-4090", 23.5, 165, 1.0),
    )
}
# An A100 is planned as the smaller one.
ALIASES = {"A100": "A100-40G", "RTX-4090": "GeForce-RTX-4090", "4090": "GeForce-RTX-4090"}


def named(name: str) -> Gpu:
    """The GPU of that name; ConfigError with the known ones if there is none."""
    wanted = ALIASES.get(name.upper(), name).upper()
    for gpu in GPUS.values():
        if gpu.name.upper() == wanted:
            return gpu
    raise ConfigError(f"--gpu {name}: known are {', '.join([*GPUS, *ALIASES])}")


def smallest(nodes: Sequence[Mapping[str, float]]) -> Gpu | None:
    """The GPU with the least memory that Ray's resources of the nodes name; None for unknown.

    To Ray both sizes of the A100 are an A100, so with one of them it is unknown.
    """
    kinds = {key.removeprefix(PREFIX) for node in nodes for key in node if key.startswith(PREFIX)}
    if "A100" in kinds:
        return None
    known = [GPUS[ALIASES.get(kind, kind)] for kind in kinds if ALIASES.get(kind, kind) in GPUS]
    return min(known, key=lambda gpu: gpu.memory) if known else None


def local() -> Gpu | None:
    """This machine's smallest GPU as torch sees it, its speed by its name; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    least = min(found, key=lambda device: device.total_memory)
    return like(least.name, least.total_memory)


def like(device: str, memory: int) -> Gpu:
    """A device as its driver names it ("NVIDIA H100 80GB HBM3"), of so many bytes.

    One that the table does not know is taken to be as fast as the slowest that it knows.
    """
    words = device.upper().replace("-", " ").split()
    fits = [g for g in GPUS.values() if g.name.split("-")[-1 if "RTX" in g.name else 0] in words]
    closest = min(fits or [GPUS["L4"]], key=lambda gpu: abs(gpu.memory - memory))
    return Gpu(device, memory, closest.flops, closest.bandwidth)
