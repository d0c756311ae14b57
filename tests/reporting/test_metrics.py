"""The keys of metrics.jsonl and evals.jsonl, and results read back from records."""

import math
from dataclasses import replace

import pytest

from score_ray.algorithm.metrics import measure_episodes, training_accuracies
from score_ray.reporting.metrics import (
    eval_record,
    evaluated_accuracies,
    evaluated_failures,
    failures_text,
    step_record,
    step_result,
    value_at,
)
from score_ray.types import Verdict
from tests.support.graded_episodes import FIVE, graded
from tests.support.sample_run_folder import metrics_record

C, W = Verdict.CORRECT, Verdict.WRONG


def test_a_record_is_read_and_written_back_with_the_same_keys_in_the_same_order():
    record = metrics_record(3)
    assert list(step_record(step_result(record)).items()) == list(record.items())


def test_optional_metrics_are_absent_and_not_empty():
    """Without importance weights, groups, or a broadcast, their keys are not in the record."""
    whole = step_result(metrics_record(3))
    without = replace(
        whole,
        update=replace(whole.update, truncated=None),
        episodes=replace(whole.episodes, flat=()),
        broadcast=None,
    )
    record = step_record(without)
    assert metrics_record(3).keys() - record.keys() == {
        "mismatch/truncated",
        "train/flat_t1",
        "train/flat_t2",
        "mismatch/logp_mean_abs",
        "weights/checked",
        "time/weights",
    }
    assert step_result(record) == without


def test_the_keys_of_episodes_by_hand():
    result = replace(
        step_result(metrics_record(0)),
        accuracies=training_accuracies(FIVE),
        episodes=measure_episodes(FIVE),
    )
    record = step_record(result)
    names = ("train/", "tokens/sampled", "verdict/")
    assert {key: record[key] for key in record if key.startswith(names)} == {
        "train/acc_t1": 0.4,
        "train/acc_t2": 0.6,
        "train/delta": 0.2,
        "train/i_to_c": 0.4,
        "train/c_to_i": 0.2,
        "train/changed": 0.6,
        "train/truncated_t1": 0.2,
        "train/truncated_t2": 0.2,
        "train/reward_t1": 0.4,
        "train/reward_t2": 0.6,
        "train/flat_t1": 0.0,
        "train/flat_t2": 0.0,
        "tokens/sampled": 20,
        "verdict/correct_t1": 2,
        "verdict/wrong_t1": 1,
        "verdict/no_answer_t1": 1,
        "verdict/truncated_t1": 1,
        "verdict/correct_t2": 3,
        "verdict/wrong_t2": 1,
        "verdict/truncated_t2": 1,
    }


def test_an_iteration_of_one_attempt_has_no_accuracy_of_a_second():
    one = [graded(("a",), (C,)), graded(("b",), (W,))]
    result = replace(step_result(metrics_record(0)), accuracies=training_accuracies(one))
    record = step_record(result)
    assert record["train/acc_t1"] == 0.5
    assert "train/acc_t2" not in record


def test_a_metric_that_a_record_lacks_is_0_if_it_counts_and_nan_if_not():
    result = step_result({"iteration": 4, "stage": "one"})
    assert (result.version, result.stale, result.num_attempts) == (5, 0, 0)
    assert (result.episodes.num_episodes, result.episodes.sampled_tokens) == (0, 0)
    assert math.isnan(result.accuracies.changed)
    assert math.isnan(result.update.mismatch_kl)
    assert math.isnan(value_at(result.kl, 1))
    assert result.broadcast is None


def test_the_seconds_of_the_transfer_are_part_of_a_phase_and_no_phase():
    result = step_result(metrics_record(0))
    assert result.seconds == {"rollout": 1.0, "update": 0.5, "iteration": 2.0}
    assert list(result.all_seconds) == ["weights", "rollout", "update", "iteration"]


def test_an_eval_record_has_exactly_the_names_of_the_file():
    record = eval_record(FIVE, 3, "arithmetic", "test")
    names = "iteration, task, split, n, acc_t1, acc_t2, delta, i_to_c, c_to_i, changed, edit_ratio"
    assert ", ".join(record) == names
    assert (record["iteration"], record["task"], record["split"]) == (3, "arithmetic", "test")
    assert (record["n"], record["acc_t1"], record["acc_t2"]) == (5, 0.4, 0.6)
    assert record["edit_ratio"] == pytest.approx((1 / 8 + 3 / 7 + 0 + 1 / 2 + 1 / 2) / 5)
    assert evaluated_accuracies(record) == (0.4, 0.6)


def test_an_evaluation_of_one_attempt_repeats_it_and_one_of_three_has_them_all():
    one = eval_record([graded(("a",), (C,)), graded(("b",), (W,))], 0, "t", "test")
    assert (one["acc_t1"], one["acc_t2"], one["delta"], one["edit_ratio"]) == (0.5, 0.5, 0.0, 0.0)
    three = eval_record([graded(("a", "b", "c"), (W, C, W))], 0, "sums", "test")
    assert evaluated_accuracies(three) == (0.0, 1.0, 0.0)


def test_the_seconds_of_a_transfer_that_an_older_run_did_not_record_are_left_out():
    record = metrics_record(3)
    del record["time/weights"]
    assert step_result(record).all_seconds == step_result(record).seconds
    assert "weights" in step_result(metrics_record(3)).all_seconds


def test_an_evaluation_says_which_share_of_its_measurements_failed_if_any_did():
    some = [graded(("4", "4"), (C, Verdict.TIMEOUT)), graded(("4", "4"), (W, C))]
    record = eval_record(some, 0, "sums", "test")
    assert (record["acc_t1"], record["acc_t2"]) == (0.5, 0.5)
    assert evaluated_failures(record) == (0.0, 0.5)
    assert failures_text(evaluated_failures(record)) == "failed measurements: t2 50.0%"
    assert failures_text(evaluated_failures(eval_record(FIVE, 0, "t", "test"))) == ""


def test_failed_measurements_are_read_back_and_are_in_no_mean_of_rewards():
    some = [graded(("4", "4"), (Verdict.GRADER_ERROR, C)), graded(("4", "4"), (W, C))]
    result = replace(
        step_result(metrics_record(0)),
        accuracies=training_accuracies(some),
        episodes=measure_episodes(some),
    )
    again = step_result(step_record(result))
    assert again.episodes.failed_share == 0.25
    assert again.episodes.rewards == (0.0, 1.0)
