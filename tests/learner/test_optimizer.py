import pytest

from score_ray.learner.optimizer import deepspeed_config, learning_rate_at
from tests.support.setups import RATE, changed, learner_setup

SETUP = learner_setup(zero_stage=2, warmup_iterations=3)


def test_the_learning_rate_warms_up_and_decays_linearly():
    """It warms up over 3 iterations; at iteration 5 of 10 it is half way from 1 to .2."""
    setup = changed(SETUP, decay_to=0.2)
    assert learning_rate_at(setup, 0) == RATE / 4
    assert learning_rate_at(setup, 1) == pytest.approx(RATE * 0.5 * (1 - 0.8 * 0.1))
    assert learning_rate_at(setup, 5) == pytest.approx(RATE * 0.6)
    assert learning_rate_at(SETUP, 9) == RATE


@pytest.mark.parametrize(("asked", "given"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_in_bfloat16_zero_stage_1_replaces_0_and_sums_are_float32(asked, given):
    config = deepspeed_config(changed(SETUP, dtype="bfloat16", zero_stage=asked))
    assert config["zero_optimization"]["stage"] == given
    assert config["data_types"]["grad_accum_dtype"] == "fp32"
    assert deepspeed_config(changed(SETUP, zero_stage=0))["zero_optimization"]["stage"] == 0


def test_only_the_policy_has_an_optimizer_to_offload():
    setup = changed(SETUP, offload_optimizer=True)
    assert deepspeed_config(setup)["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert deepspeed_config(setup, trained=False)["zero_optimization"] == {"stage": 2}
