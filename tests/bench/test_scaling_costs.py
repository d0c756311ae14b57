"""The fit of the scaling model's costs, on numbers that can be counted by hand."""

from dataclasses import replace

import pytest

from score_ray.bench.scaling_costs import fit_costs, fit_line, fit_step
from score_ray.bench.scaling_measurement import MeasuredIteration
from score_ray.bench.scaling_model import Costs, LinearCost, steps_of

DRIVER = {"rollout": 0.8, "reference": 0.2, "update": 0.4, "broadcast": 0.5}
MEANS = {"reference": 1.1, "update": 2.1, "broadcast": 7.0, "driver": 0.4}
# Both have 4 steps; the larger batch has 32 request-steps, the smaller 8.
LARGE = MeasuredIteration(
    [[4, 4]] * 4, MEANS, 4 * 0.5 + 32 * 0.25, DRIVER, reading_rows=0.1, row_bytes=50.0
)
SMALL = replace(
    LARGE,
    groups=[[4, 4]],
    means={**MEANS, "reference": 0.5, "update": 0.9, "driver": 0.1},
    sampling=4 * 0.5 + 8 * 0.25,
    driver={"rollout": 0.5, "reference": 0.1, "update": 0.2, "broadcast": 0.5},
)


def costs(others) -> Costs:
    return fit_costs({(1, 1): LARGE, **others}, SMALL, max_running=8, weight_bytes=20)


def test_costs_are_recovered_from_two_sizes_of_batch():
    fitted = costs({})
    assert fitted.step == LinearCost(0.5, 0.25)
    # The driver spends 0.025 s more for every further episode in each of the two, and a rank
    # reads all rows in 0.1 s: 0.0375 s an episode that ranks do not divide.
    assert fitted.sending_rows == pytest.approx(0.0375)
    assert (fitted.reference.fixed, fitted.reference.per_item) == pytest.approx((0.3, 0.0625))
    assert (fitted.update.fixed, fitted.update.per_item) == pytest.approx((0.5, 0.1625))
    assert fitted.driver == LinearCost(0.0, 0.05)
    # All episodes end in the same step: one part, of two and of eight.
    assert (fitted.reading_part.fixed, fitted.reading_part.per_item) == pytest.approx((0.4, 0.05))
    assert (fitted.broadcast, fitted.row_bytes, fitted.weight_bytes) == (7.0, 50.0, 20)


def test_further_processes_cost_what_the_driver_spends_more_on_them():
    three = replace(LARGE, driver={**DRIVER, "broadcast": 0.9})
    two = replace(LARGE, driver={**DRIVER, "reference": 0.3, "update": 0.7})
    fitted = costs({(3, 1): three, (1, 2): two, (3, 2): replace(LARGE, driver={})})
    # 0.4 s for two further actors, in one phase; 0.4 s for one further rank, in two.
    assert fitted.per_actor == pytest.approx(0.4 / 2)
    assert fitted.per_rank == pytest.approx(0.4 / 2)
    assert (costs({}).per_actor, costs({}).per_rank) == (0.0, 0.0)


def test_the_cost_of_a_step_is_recovered_from_two_measurements():
    counts = [steps_of([3, 1], 8)[:2], steps_of([5, 4, 4], 8)[:2]]
    assert fit_step([((s, r), 1.0 * s + 0.5 * r) for s, r in counts]) == LinearCost(1.0, 0.5)


def test_the_cost_of_a_step_is_never_negative():
    assert fit_step([((2, 4), 8.0), ((2, 8), 6.0)]) == LinearCost(3.5, 0.0)
    assert fit_step([((2, 4), 1.0), ((2, 8), 5.0)]) == LinearCost(0.0, 0.5)
    assert fit_step([((2, 4), 2.0), ((2, 4), 2.0)]) == LinearCost(0.0, 0.5)


def test_a_line_goes_through_both_points_and_is_nowhere_negative():
    assert fit_line((10, 2.0), (20, 3.0)) == LinearCost(1.0, 0.1)
    assert fit_line((10, 1.0), (20, 3.0)) == LinearCost(0.0, 0.15)
    assert fit_line((10, 3.0), (20, 1.0)) == LinearCost(3.0, 0.0)
    assert fit_line((4, 2.0), (4, 2.0)) == LinearCost(0.0, 0.5)
