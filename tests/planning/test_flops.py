from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.planning.flops import forward_flops, recomputed_flops, update_flops
from score_ray.planning.model_shape import shape_of
from tests.support.published_models import published

SHAPE = shape_of(published("HuggingFaceTB/SmolLM2-135M"))
HEAD = 576 * 49152
BODY = 134_515_008 - HEAD  # tied: the head is the embedding


def config(*overrides: str):
    return load(Path("configs/arithmetic.yaml"), overrides)


@pytest.mark.parametrize(("rank", "per_weight"), [(0, 6), (8, 4)])
def test_flops_count_the_body_for_every_token_and_the_head_for_sampled_ones(rank, per_weight):
    own = config(f"learner.lora.rank={rank}")
    assert update_flops(own, SHAPE, 7.0, 4.0) == per_weight * (BODY * 7 + HEAD * 4)


def test_a_forward_pass_takes_two_operations_per_weight_and_token():
    assert forward_flops(SHAPE, 7.0, 4.0) == 2 * (BODY * 7 + HEAD * 4)


def test_logits_are_computed_twice_and_activations_if_they_are_checkpointed():
    assert recomputed_flops(config(), SHAPE, 7.0, 4.0) == 2 * HEAD * 4
    checkpointed = config("learner.gradient_checkpointing=true")
    assert recomputed_flops(checkpointed, SHAPE, 7.0, 4.0) == 2 * (BODY * 7 + HEAD * 4)
