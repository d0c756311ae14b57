import math

import numpy as np
import pytest

from score_ray.weights.probe import (
    WeightMismatch,
    check,
    mean_abs_difference,
    probe_rows,
)


def test_mean_abs_difference_is_over_tokens_not_rows():
    assert mean_abs_difference([[0.0], [1.0, 2.0]], [[3.0], [1.0, 2.0]]) == pytest.approx(1.0)


def test_check_returns_the_difference_when_engine_and_learner_agree():
    assert check([[-1.0]], [[-1.0001]], None, 1e-3, "actor") == pytest.approx(1e-4)


def test_check_names_the_engine_that_is_off():
    with pytest.raises(WeightMismatch, match="rollout actor 3"):
        check([[-1.0]], [[-1.1]], None, 1e-3, "rollout actor 3")


def test_check_catches_nan():
    with pytest.raises(WeightMismatch):
        check([[math.nan]], [[-1.0]], None, 1e-3, "actor")


def test_a_stale_engine_is_caught_below_the_bound():
    old, new = [[-1.0, -2.0]], [[-1.0001, -2.0001]]
    with pytest.raises(WeightMismatch, match="did not take effect"):
        check(old, new, old, 1e-3, "actor")
    assert check(new, new, old, 1e-3, "actor") == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_an_update_that_rounding_hides_ends_no_run_and_a_clear_one_is_noticed(seed):
    """Engine and learner round the scores differently, and differently after an update."""
    rng = np.random.default_rng(seed)
    true = rng.normal(-2, 1, 256)
    engine, before, after = true + rng.normal(0, 5e-3, (3, 256))
    for update in (0.0, rng.normal(0, 5e-3, 256)):
        check([[*(engine + update)]], [[*(after + update)]], [[*before]], 0.05, "actor")
        check([[*engine]], [[*(after + update)]], [[*before]], 0.05, "actor")  # not called stale
    update = rng.normal(0, 2e-2, 256)
    check([[*(engine + update)]], [[*(after + update)]], [[*before]], 0.05, "actor")
    with pytest.raises(WeightMismatch, match="did not take effect"):
        check([[*engine]], [[*(after + update)]], [[*before]], 0.05, "actor")


def test_probe_rows_stop_at_the_token_budget():
    assert probe_rows([(1, 2, 3), (4, 5, 6), (7, 8, 9)], 5) == [(1, 2, 3), (4, 5)]
