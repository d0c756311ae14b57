import re
from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.planning import gpus
from score_ray.planning.fit import changed, check_memory, shortages
from score_ray.planning.gpus import GIB, Gpu
from score_ray.planning.model_shape import shape_of
from score_ray.types import ConfigError
from tests.support.published_models import published

QWEN = shape_of(published("Qwen/Qwen2.5-1.5B-Instruct"))
RECIPE = Path("configs/math_qwen2.5-1.5b.yaml")
ONE_GPU = ["rollout.num_actors=1", "learner.num_ranks=1", "rollout.share_gpus=true"]


def config(*overrides: str):
    return load(RECIPE, overrides)


def of_size(gib: float) -> Gpu:
    return Gpu("a card", int(gib * GIB), 1e14, 1e12)


def test_a_run_that_fits_has_no_shortages():
    assert shortages(config(), QWEN, gpus.named("H100")) == []
    check_memory(config(*ONE_GPU), QWEN, gpus.named("H100"))


def test_a_rank_that_is_too_large_is_reported_with_the_shortage_and_its_largest_items():
    """1.54 billion weights: 2 + 2 + 4 + 12 bytes each, 13.4 GiB a step, 3 GiB in reserve."""
    with pytest.raises(ConfigError) as error:
        check_memory(config(*ONE_GPU), QWEN, gpus.named("A100"))
    first, second = str(error.value).splitlines()
    assert first == (
        "a learner rank needs 45.1 GiB next to a sleeping engine's 2.0 GiB, A100-40G has 39.3 GiB: "
        "7.8 GiB short; most of it is masters, Adam (17.3 GiB), optimizer step (13.4 GiB), "
        "gradients (5.8 GiB)"
    )
    assert second.startswith("  what would help: ")
    assert "learner.offload_optimizer=true (enough)" in second


@pytest.mark.parametrize("gib", [20.0, 30.0, 39.3, 46.0])
def test_changes_that_are_called_enough_are_enough(gib):
    own = config(*ONE_GPU)
    told = shortages(own, QWEN, of_size(gib))[1]
    enough = re.findall(r"[ :] ([^,:]+) \(enough\)", told.replace(", ", ",  "))
    assert enough
    for change in enough:
        assert rank_fits(own, [change], gib)


def test_if_one_change_is_not_enough_the_first_few_together_are():
    own, gib = config(*ONE_GPU, "learner.gradient_checkpointing=false"), 24.0
    told = shortages(own, QWEN, of_size(gib))[1]
    changes = re.findall(r"[ :] ([^,:]+) \(saves", told.replace(", ", ",  "))
    count = int(re.findall(r"the first (\d+) of these together are enough", told)[0])
    assert count > 1
    assert rank_fits(own, changes[:count], gib)
    assert not rank_fits(own, changes[: count - 1], gib)
    saved = [float(size) for size in re.findall(r"saves ([\d.]+) GiB", told)]
    assert saved == sorted(saved, reverse=True)


def rank_fits(own, changes: list[str], gib: float) -> bool:
    mended = changed(own, " ".join(changes).split())
    return not [f for f in shortages(mended, QWEN, of_size(gib)) if "learner rank needs" in f]


def test_settings_that_are_there_already_are_not_advised():
    set_already = ("learner.lora.rank=8", "learner.gradient_checkpointing=true")
    told = " ".join(shortages(config(*ONE_GPU, *set_already), QWEN, of_size(8)))
    assert "learner.lora.rank" not in told
    assert "learner.gradient_checkpointing" not in told
    assert "learner.tokens_per_micro_batch=4608" in told


def test_an_engine_without_room_for_one_episode_is_reported_with_the_shortage():
    """4,608 tokens of 28,672 bytes are 0.12 GiB; weights 2.9, a step 1.4, in reserve 3 GiB."""
    told = shortages(config("rollout.gpu_memory=0.25"), QWEN, of_size(24))
    assert told[0].startswith(
        "an engine needs 7.4 GiB with a cache for one episode, rollout.gpu_memory=0.25 of a card "
        "gives it 6.0 GiB: 1.4 GiB short; most of it is reserve (3.0 GiB), weights (2.9 GiB)"
    )
    assert "rollout.gpu_memory=0.92, rollout.tensor_parallel=2" in told[1]
    assert shortages(config("rollout.gpu_memory=0.31"), QWEN, of_size(24)) == []


def test_an_engines_share_leaves_room_for_a_sleeping_rank():
    """0.95 of 39 GiB is 37.1; with 2 GiB that is 0.1 too many, and 37 / 39 is 0.948."""
    own = config(*ONE_GPU, "learner.lora.rank=8", "rollout.gpu_memory=0.95")
    told = shortages(own, QWEN, of_size(39))
    assert told == [
        "an engine's 37.0 GiB and a sleeping learner rank's 2.0 GiB are 0.0 GiB more than a card "
        "has",
        "  what would help: rollout.gpu_memory=0.94",
    ]
    assert shortages(changed(own, ["rollout.gpu_memory=0.94"]), QWEN, of_size(39)) == []


def test_in_a_broadcast_both_sides_weights_are_on_a_shared_gpu():
    """A rank of the 8 billion weights with whole states cannot keep them next to an engine's."""
    large = shape_of(published("meta-llama/Llama-3.1-8B-Instruct"))
    told = shortages(config(*ONE_GPU), large, of_size(165))
    assert any(
        f.startswith("a broadcast needs 169.5 GiB") for f in told
    )  # 22 bytes each, and 5 GiB
