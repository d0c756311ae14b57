from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.types import ConfigError

ARITHMETIC = Path("configs/arithmetic.yaml")


def test_a_stage_ends_exactly_after_its_iterations():
    config = load(ARITHMETIC, ["stages.0.iterations=3", "stages.1.iterations=2"])
    assert [config.stage_at(i).name for i in range(5)] == ["stage_1"] * 3 + ["stage_2"] * 2
    assert config.stage_ends() == {3: "stage_1", 5: "stage_2"}
    with pytest.raises(IndexError):
        config.stage_at(5)


def test_evaluations_and_checkpoints_wait_for_a_version_that_is_served():
    """A stage of 5 iterations refreshes every 2, and one of 3 does so in each."""
    rounds = "{name: a, iterations: 5, learn: star, reward: [0, 1], kl: [0, 0], refresh: 2}"
    plain = "{name: b, iterations: 3, reward: [1, 1], kl: [0, 0]}"
    config = load(ARITHMETIC, [f"stages=[{rounds}, {plain}]"])
    assert [config.version_at(i) for i in range(9)] == [0, 0, 2, 2, 4, 5, 6, 7, 8]
    assert [i for i in range(9) if config.is_served(i)] == [0, 2, 4, 5, 6, 7, 8]
    assert [i for i in range(1, 9) if config._is_due(i, 3)] == [4, 6]
    assert not any(config._is_due(i, 0) for i in range(1, 9))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.learn=star", "star has no bonus and no kl"),
        ("stages.0={name: a, iterations: 1, learn: pairs, reward: [1], kl: [0]}", "two attempts"),
        ("stages.0.refresh=2", "refresh: reinforce needs episodes of the current weights"),
        ("stages.0.kl_target=[0.1]", "kl_target: needs 2 numbers"),
        (
            "stages.0={name: a, iterations: 1, reward: [0, 1], kl: [0, 0], kl_target: [1, 0]}",
            "must not start at 0",
        ),
        ("checkpoint.select=held_out", "checkpoint.select: held_out needs evaluation.held_out"),
        ("rollout.sample=4", "rollout.sample: unknown key"),
        ("rollout.samples=four", "rollout.samples: .*valid integer.*'four'"),
        ("rollout.samples=0", "rollout.samples: .*greater than 0"),
        ("learner.zero_stage=4", "learner.zero_stage"),
        ("learner.offload_optimizer=true", "learner.offload_optimizer: needs learner.zero_stage"),
        ("learner.lora.broadcast=adapter", "learner.lora.broadcast: there is no adapter"),
        ("learner.learning_rate=.nan", "learner.learning_rate"),
        ("prompts.first=nothing", "prompts.first: must contain {question}, or name a preset"),
        ("prompts={preset: paper_math, first: ''}", "or leave it out for that of paper_math"),
        ("prompts={preset: paper_mbpp, first: no question}", "prompts.first: must contain"),
        ("task.name=math", "task.train and task.test"),
        ("task.name=mbpp", 'task.train and task.test: task "mbpp" needs both'),
        ("task.name=humaneval", 'task.test: task "humaneval" needs it'),
        ("task.name=mbpp_r", 'task.test: task "mbpp_r" needs it'),
        ("task={name: mbpp_r, test: a}", 'task.attempt_column: task "mbpp_r" needs'),
        ("prompts.preset=paper_poems", "prompts.preset: .*'paper_mbpp'.*'paper_poems'"),
        ("task.name=geography", "task.name"),
        ("rollout.attempts=3", "one per attempt"),
        ("rollout", "section.key=value"),
    ],
)
def test_a_wrong_value_is_one_error_that_names_the_key(override, message):
    with pytest.raises(ConfigError, match=message):
        load(ARITHMETIC, [override])


@pytest.mark.parametrize(
    ("dtype", "broadcast", "alone"),
    [
        ("float32", "auto", False),
        ("bfloat16", "auto", True),
        ("bfloat16", "merged", False),
        ("float32", "adapter", True),
    ],
)
def test_an_adapter_is_sent_alone_if_merging_it_would_round(dtype, broadcast, alone):
    chosen = [f"model.dtype={dtype}", f"learner.lora.broadcast={broadcast}"]
    assert load(ARITHMETIC, [*chosen, "learner.lora.rank=4"]).sends_adapter is alone


def test_without_an_adapter_none_is_sent():
    assert not load(ARITHMETIC, ["model.dtype=bfloat16"]).sends_adapter


@pytest.mark.parametrize(
    ("overrides", "gpus"),
    [
        (("rollout.num_actors=3", "rollout.tensor_parallel=2", "learner.num_ranks=2"), 8),
        (("rollout.num_actors=2", "learner.num_ranks=2", "rollout.share_gpus=true"), 2),
    ],
)
def test_engines_and_ranks_have_their_gpus_apart_or_share_them(overrides, gpus):
    assert load(ARITHMETIC, overrides).num_gpus == gpus
