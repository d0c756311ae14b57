import pytest

from score_ray.learner.optimizer import deepspeed_config, learning_rate_at
from tests.support.setups import RATE, changed, learner_setup

SETUP = learner_setup(zero_stage=2, warmup_iterations=3)


def test_the_learning_rate_warms_up_and_falls_linearly():
    """Warm-up over 3 iterations; of the way from 1 to .2, iteration 5 of 10 has gone half."""
    setup = changed(SETUP, decay_to=0.2)
    assert learning_rate_at(setup, 0) == RATE / 4
    assert learning_rate_at(setup, 1) == pytest.approx(RATE * 0.5 * (1 - 0.8 * 0.1))
    assert learning_rate_at(setup, 5) == pytest.approx(RATE * 0.6)
    assert learning_rate_at(SETUP, 9) == RATE


@pytest.mark.parametrize(("asked", "given"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_bfloat16_is_added_up_in_float32_which_stage_0_cannot(asked, given):
    config = deepspeed_config(changed(SETUP, dtype="bfloat16", zero_stage=asked))
    assert config["zero_optimization"]["stage"] == given
    assert config["data_types"]["grad_accum_dtype"] == "fp32"
    assert deepspeed_config(changed(SETUP, zero_stage=0))["zero_optimization"]["stage"] == 0


def test_only_what_is_trained_has_an_optimizer_to_offload():
    setup = changed(SETUP, offload_optimizer=True)
    assert deepspeed_config(setup)["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert deepspeed_config(setup, trained=False)["zero_optimization"] == {"stage": 2}
