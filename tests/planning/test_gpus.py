import pytest
from ray.util.accelerators import accelerators

from score_ray.planning import gpus
from score_ray.types import ConfigError

GIB = 2**30


def test_names_are_those_of_ray():
    of_ray = {v for k, v in vars(accelerators).items() if k.isupper() and isinstance(v, str)}
    consumer = {"GeForce-RTX-4090"}  # Ray takes these names from the driver
    assert set(gpus.GPUS) - consumer <= of_ray


def test_a_gpu_is_found_by_its_name_whatever_its_case():
    assert gpus.named("h200").memory == int(139.5 * GIB)
    assert gpus.named("4090").name == "GeForce-RTX-4090"


def test_an_a100_of_unknown_size_is_the_smaller_one():
    assert gpus.named("A100").name == "A100-40G"


def test_an_unknown_gpu_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"--gpu H900: known are .*H100"):
        gpus.named("H900")


def test_the_smallest_gpu_of_a_cluster_counts():
    nodes = [{"CPU": 8.0}, {"accelerator_type:H200": 1.0}, {"accelerator_type:L4": 1.0}]
    smallest = gpus.smallest(nodes)
    assert smallest == gpus.GPUS["L4"]
    assert gpus.smallest([{"accelerator_type:TPU-V4": 1.0}, {"GPU": 1.0}]) is None
    # Which of the two sizes of A100 it is Ray does not say.
    assert gpus.smallest([{"accelerator_type:A100": 1.0}, {"accelerator_type:H100": 1.0}]) is None


@pytest.mark.parametrize(
    ("device", "gib", "name"),
    [
        ("NVIDIA H100 80GB HBM3", 79.1, "H100"),
        ("NVIDIA A100-SXM4-80GB", 79.2, "A100-80G"),
        ("NVIDIA A100-PCIE-40GB", 39.4, "A100-40G"),
        ("NVIDIA GeForce RTX 4090", 23.6, "GeForce-RTX-4090"),
        ("NVIDIA L4", 22.1, "L4"),
        ("Some Other 9000", 48.0, "L4"),
    ],
)
def test_a_device_has_its_own_memory_and_the_speed_of_its_kind(device, gib, name):
    found = gpus.like(device, int(gib * GIB))
    assert (found.name, found.memory) == (device, int(gib * GIB))
    assert found.flops == gpus.GPUS[name].flops
