"""Means, rates and memory of a measured recipe, on made-up numbers."""

from pathlib import Path

from score_ray.bench.peak_memory import PeakMemory
from score_ray.bench.recipe_cost import (
    MeanStep,
    RecipeCost,
    mean_of,
    memory_table,
    rate_rows,
)
from score_ray.bench.text_tables import text_of
from score_ray.reporting.metrics import step_result

RECIPE = Path("configs/arithmetic.yaml")


def test_means_are_over_iterations_and_a_missing_transfer_counts_as_zero():
    one = {"iteration": 1, "stage": "stage_1", "time/rollout": 1.0, "tokens/trained": 10}
    other = {"iteration": 2, "stage": "stage_2", "time/rollout": 2.0, "tokens/trained": 20}
    sent = {"weights/checked": 1, "mismatch/logp_mean_abs": 0.0, "time/weights": 0.5}
    steps = [step_result(one), step_result(other | sent)]
    assert mean_of(steps) == MeanStep({"rollout": 1.5}, 0.25, sampled_tokens=0, trained_tokens=15)


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
