import pytest

from score_ray.types import ConfigError
from score_ray.weights.backend import choose_backend


@pytest.mark.parametrize(
    ("wanted", "on_gpu", "share_gpus", "chosen"),
    [
        ("auto", False, False, "object_store"),
        ("auto", False, True, "object_store"),
        ("auto", True, False, "nccl"),
        ("auto", True, True, "ipc"),
        ("object_store", False, False, "object_store"),
        ("object_store", True, False, "object_store"),
        ("object_store", True, True, "object_store"),
        ("nccl", True, False, "nccl"),
        ("ipc", True, True, "ipc"),
    ],
)
def test_the_back_end_is_the_fastest_that_works_or_the_one_that_is_wanted(
    wanted, on_gpu, share_gpus, chosen
):
    assert choose_backend(wanted, on_gpu, share_gpus) == chosen


@pytest.mark.parametrize(
    ("wanted", "on_gpu", "share_gpus", "words"),
    [
        ("nccl", False, False, "weights.backend: nccl needs GPUs"),
        ("ipc", False, True, "weights.backend: ipc needs GPUs"),
        ("ipc", True, False, "rollout.share_gpus=true"),
        ("nccl", True, True, "rollout.share_gpus=false"),
    ],
)
def test_back_ends_that_cannot_work_are_refused_with_those_that_can(
    wanted, on_gpu, share_gpus, words
):
    with pytest.raises(ConfigError, match=words):
        choose_backend(wanted, on_gpu, share_gpus)


def test_an_adapter_alone_goes_through_the_object_store():
    for on_gpu, shared in [(False, False), (True, False), (True, True)]:
        assert choose_backend("auto", on_gpu, shared, adapter=True) == "object_store"
    with pytest.raises(ConfigError, match="nccl sends whole weights; an adapter sent alone"):
        choose_backend("nccl", on_gpu=True, share_gpus=False, adapter=True)
