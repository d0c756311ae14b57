from pathlib import Path

import pytest

from score_ray.config.config import Config
from score_ray.config.loading import load
from score_ray.config.suggestions import did_you_mean, suggest_key
from score_ray.types import ConfigError

ARITHMETIC = Path("configs/arithmetic.yaml")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("max_tokens", "rollout.max_tokens"),
        ("rollout.max_token", "rollout.max_tokens"),
        ("rollout.max_new_tokens", "rollout.max_tokens"),
        ("sampling.max_tokens", "rollout.max_tokens"),
        ("learner.lr", "learner.learning_rate"),
        ("learning_rate", "learner.learning_rate"),
        ("model.learning_rate", "learner.learning_rate"),
        ("lora_rank", "learner.lora.rank"),
        ("lora.rank", "learner.lora.rank"),
        ("rolout", "rollout"),
        ("rolout.samples", "rollout.samples"),
        ("Rollout.Samples", "rollout.samples"),
        ("stages.1.iteration", "stages.1.iterations"),
        ("task.question_colum", "task.question_column"),
        ("seeds", "seed"),
        ("held_out", "task.held_out or evaluation.held_out"),
    ],
)
def test_a_mistyped_key_gets_the_key_that_was_meant(wrong, meant):
    assert suggest_key(wrong, Config) == f"; did you mean {meant}?"


@pytest.mark.parametrize("wrong", ["", "xyzzy", "rollout.xyzzy", "optimizer.betas", "frobnicate.q"])
def test_what_is_like_no_key_gets_no_suggestion(wrong):
    assert suggest_key(wrong, Config) == ""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dtype=bf16", "got 'bf16'; did you mean bfloat16?"),
        ("model.dtype= float32", "did you mean float32?"),
        ("task.name=humanevals", "did you mean humaneval?"),
        ("prompts.preset=paper-math", "did you mean paper_math?"),
        ("weights.backend=NCCL", "did you mean nccl?"),
    ],
)
def test_a_mistyped_choice_gets_the_one_that_was_meant(override, message):
    with pytest.raises(ConfigError) as caught:
        load(ARITHMETIC, [override])
    assert message in str(caught.value)


def test_a_choice_that_is_like_none_gets_no_suggestion():
    assert did_you_mean("geography", ["math", "sums"]) == ""
