"""Means, rates and memory of a measured recipe, on made-up numbers."""

from pathlib import Path

import pytest

from score_ray.bench.peak_memory import PeakMemory
from score_ray.bench.recipe_cost import (
    MeanStep,
    RecipeCost,
    mean_of,
    memory_table,
    rate_rows,
    update_flops,
)
from score_ray.bench.text_tables import text_of
from score_ray.config.loading import load
from score_ray.planning.model_shape import shape_of
from tests.support.published_models import published

RECIPE = Path("configs/arithmetic.yaml")


@pytest.mark.parametrize(("rank", "per_weight"), [(0, 6), (8, 4)])
def test_flops_count_the_body_for_every_token_and_the_head_for_drawn_ones(rank, per_weight):
    shape = shape_of(published("HuggingFaceTB/SmolLM2-135M"))
    config = load(RECIPE, [f"learner.lora.rank={rank}"])
    step = MeanStep({}, transfer=0.0, sampled_tokens=4.0, trained_tokens=7.0)
    head = 576 * 49152
    body = 134_515_008 - head  # tied: the head is the embedding
    assert update_flops(config, shape, step) == per_weight * (body * 7 + head * 4)


def test_means_are_of_numbers_and_a_missing_number_counts_as_zero():
    records = [{"a": 1, "stage": "one", "b": 3.0}, {"a": 2, "stage": "two"}]
    assert means_of(records) == {"a": 1.5, "b": 1.5}


def test_rates_divide_each_phases_work_by_its_time():
    seconds = {"iteration": 10.0, "rollout": 4.0, "reference": 1.0, "update": 4.0}
    step = MeanStep(seconds, transfer=0.25, sampled_tokens=200.0, trained_tokens=800.0)
    cost = RecipeCost(step, update_flops=30e9, matmul_flops=100e9, memory={})
    rows = dict(rate_rows(cost, against_offline=0.8))
    assert rows["sampled tokens / s of rollout"] == "50"
    assert rows["trained tokens / s of update"] == "200"
    assert rows["rollout / vLLM offline, same prompts and lengths"] == "0.80"
    assert rows["learner / matrix product"] == "0.30"
    assert rows["neither rollout, reference nor update"] == "10.0%"
    assert rows["weight transfer, s"] == "0.250"


def test_memory_of_gpus_is_shown_where_there_is_one():
    assert "GPU" not in text_of(memory_table({"driver": PeakMemory(1.0, 0.0)}))
    shown = text_of(
        memory_table({"driver": PeakMemory(1.0, 0.0), "learner rank 0": PeakMemory(2.0, 41.5)})
    )
    assert "GiB of its GPU" in shown
    assert "41.50" in shown
