"""Seconds from operations and bytes, counted by hand on round numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.planning import expected_time
from score_ray.planning.expected_time import Tokens, expect, mean_tokens
from score_ray.planning.gpus import Gpu
from score_ray.planning.memory import Demand, MemoryPlan
from score_ray.planning.model_shape import ModelShape

# 1,200 weights, 1,000 of them in the body, and 100 operations or bytes per second.
SHAPE = ModelShape(1, 10, 10, 1, 1, 10, 20, True, 2, 1200, (("q_proj", 20),))
GPU = Gpu("slow", 10**9, 100.0, 100.0)
PLAN = MemoryPlan(Demand(()), Demand(()), 0, 0, cache_tokens=10**9)
TOKENS = Tokens(read=30, sampled=20)
SIZES = [
    "model.dtype=bfloat16", "rollout.problems=8", "rollout.samples=2", "rollout.max_tokens=20",
    "model.max_length=100", "learner.tokens_per_micro_batch=100", "rollout.max_running=256",
]  # fmt: skip


def config(*overrides: str):
    return load(Path("configs/arithmetic.yaml"), [*SIZES, *overrides])


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """Assume hardware that reaches its data sheet, and no time besides the work."""
    for name in ("TRAINING", "PREFILLING", "READING", "FLOAT32"):
        monkeypatch.setattr(expected_time, name, 1.0)
    for name in ("STEP", "CHECKING"):
        monkeypatch.setattr(expected_time, name, 0.0)
    for name in ("WITHIN_NODE", "BETWEEN_NODES", "TO_HOST", "HOST_STEP"):
        monkeypatch.setattr(expected_time, name, 1e4)


def found(*overrides: str, plan: MemoryPlan = PLAN):
    return expect(config(*overrides), SHAPE, GPU, plan, TOKENS)


def test_mean_tokens_are_those_given_or_half_of_the_limit():
    assert mean_tokens(config(), 0, 0) == Tokens(read=(100 - 40) / 2, sampled=20)
    assert mean_tokens(config(), 50, 7) == Tokens(read=50, sampled=14)
    assert TOKENS.all == 50


def test_the_reference_makes_one_forward_pass_and_the_update_three_as_much():
    """16 rows: 800 tokens of 1,000 weights and 320 of the head's 200; the head is run twice."""
    own = found()
    assert own.reference == 2 * (800_000 + 64_000) / 100
    assert own.update == (6 * 800_000 + 8 * 64_000) / 100


def test_ranks_divide_the_work_and_add_up_gradients():
    """Each gradient of 4 bytes is sent and received once: 9,600 bytes at 10,000 a second."""
    two = found("learner.num_ranks=2")
    assert two.reference == found().reference / 2
    assert two.update == pytest.approx(found().update / 2 + 0.96)


def test_recomputed_activations_add_a_forward_pass_and_adapters_save_one():
    more = found("learner.gradient_checkpointing=true").update - found().update
    assert more == 2 * 800_000 / 100
    assert found("learner.lora.rank=1").update == (4 * 800_000 + 6 * 64_000) / 100


def test_zero_3_passes_all_weights_in_every_pass_of_every_micro_batch():
    """400 tokens a rank make 4 micro-batches; 2,400 bytes pass in 0.24 s."""
    sharded = found("learner.num_ranks=2", "learner.zero_stage=3")
    whole = found("learner.num_ranks=2", "learner.zero_stage=2")
    assert sharded.reference - whole.reference == pytest.approx(4 * 0.24)
    assert sharded.update - whole.update == pytest.approx(2 * 4 * 0.24)


def test_an_offloaded_step_reads_and_writes_the_optimizers_state():
    more = found("learner.zero_stage=1", "learner.offload_optimizer=true").update
    assert more - found("learner.zero_stage=1").update == pytest.approx(16 * 1200 / 1e4)


def test_rollout_reads_weights_and_cache_in_every_step():
    """16 episodes at once take 40 steps, the longest one's; 2,400 bytes of weights and
    16 * 50 tokens of 40 bytes are read in each, and 480 prompt tokens take 2,000 operations."""
    assert found().rollout == 40 * (2400 + 800 * 40) / 100 + 2000 * 480 / 100


def test_episodes_that_do_not_run_at_once_run_one_after_the_other():
    """4 at a time: 320 tokens in 80 steps, and a tail of 20."""
    own = found("rollout.max_running=4")
    assert own.rollout == 100 * (2400 + 4 * 50 * 40) / 100 + 2000 * 480 / 100
    assert found(plan=replace(PLAN, cache_tokens=200)).rollout == own.rollout


def test_actors_share_the_problems_and_gpus_the_weights():
    four = found("rollout.num_actors=4")
    assert four.rollout == 40 * (2400 + 200 * 40) / 100 + 2000 * 120 / 100
    both = found("rollout.tensor_parallel=2", "rollout.num_actors=4")
    assert both.rollout == 40 * (1200 + 200 * 40) / 100 + 2000 * 120 / 200


def test_colocation_moves_both_sides_to_the_host_and_back():
    asleep = replace(PLAN, learner=Demand((), host=3000), engine=Demand((), host=2000))
    assert found("rollout.share_gpus=true", plan=asleep).colocation == 2 * 5000 / 1e4
    assert found(plan=asleep).colocation == 0


def test_an_iteration_is_the_sum_of_its_phases_or_the_longer_side():
    own = found()
    assert own.broadcast == 2400 / 1e4
    assert own.iteration == own.rollout + own.reference + own.update + own.broadcast
    ahead = found("rollout.overlap=1", "learner.max_importance=2.0")
    assert ahead.iteration == max(own.rollout, own.reference + own.update) + own.broadcast


def test_networks_between_nodes_count_from_the_ninth_gpu_on(monkeypatch):
    monkeypatch.setattr(expected_time, "BETWEEN_NODES", 1e3)
    assert found("rollout.num_actors=7").broadcast == 2400 / 1e4
    assert found("rollout.num_actors=8").broadcast == 2400 / 1e3
