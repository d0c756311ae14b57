"""The kinds of GPUs: their names, their memory, and the speed in their data sheets.

The names are those of Ray's `accelerator_type:NAME` resources (ray.util.accelerators).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from score_ray.types import ConfigError

GIB = 2**30
GPUS_PER_NODE = 8  # assumed of every node of a cluster
PREFIX = "accelerator_type:"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU: bytes of memory, bfloat16 operations a second, bytes read a second."""

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
# An A100 of unknown size is planned as the smaller one.
ALIASES = {"A100": "A100-40G", "RTX-4090": "GeForce-RTX-4090", "4090": "GeForce-RTX-4090"}


def named(name: str) -> Gpu:
    """Return the GPU of that name; raise ConfigError with the known ones if there is none."""
    wanted = ALIASES.get(name.upper(), name).upper()
    for gpu in GPUS.values():
        if gpu.name.upper() == wanted:
            return gpu
    raise ConfigError(f"--gpu {name}: known are {', '.join([*GPUS, *ALIASES])}")


def smallest(nodes: Sequence[Mapping[str, float]]) -> Gpu | None:
    """Return the GPU with the least memory that the nodes' Ray resources name, or None.

    Ray gives both sizes of the A100 the same name, so with an A100 the answer is None.
    """
    kinds = {key.removeprefix(PREFIX) for node in nodes for key in node if key.startswith(PREFIX)}
    if "A100" in kinds:
        return None
    known = [GPUS[ALIASES.get(kind, kind)] for kind in kinds if ALIASES.get(kind, kind) in GPUS]
    return min(known, key=lambda gpu: gpu.memory) if known else None


def local() -> Gpu | None:
    """Return this machine's smallest GPU, with its speed by its name, or None if it has none."""
    import torch

    if not torch.cuda.is_available():
        return None
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    least = min(devices, key=lambda device: device.total_memory)
    return like(least.name, least.total_memory)


def like(device: str, memory: int) -> Gpu:
    """Return the GPU that a driver calls `device` ("NVIDIA H100 80GB HBM3"), with its own memory.

    One that is not in the table is assumed to be as fast as an L4, the slowest in it.
    """
    words = device.upper().replace("-", " ").split()
    same = [g for g in GPUS.values() if g.name.split("-")[-1 if "RTX" in g.name else 0] in words]
    closest = min(same or [GPUS["L4"]], key=lambda gpu: abs(gpu.memory - memory))
    return Gpu(device, memory, closest.flops, closest.bandwidth)
