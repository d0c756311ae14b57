"""What `bench scale` makes of its measurements, on numbers that can be counted by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from score_ray.bench.scale_out import Arrangement, arrange, costs_of, resize
from score_ray.bench.scaling_model import Costs, LinearCost
from score_ray.config.config import load

BUSY = {"rollout": 0.8, "reference": 0.2, "update": 0.4, "broadcast": 0.5}
MEANS = {"reference": 1.1, "update": 2.1, "broadcast": 7.0, "driver": 0.4}
# Both have 4 steps; the larger batch has 32 request-steps, the smaller 8.
LARGE = Arrangement(
    [[4, 4]] * 4, MEANS, 4 * 0.5 + 32 * 0.25, BUSY, reading_rows=0.1, row_bytes=50.0
)
SMALL = replace(
    LARGE,
    groups=[[4, 4]],
    means={**MEANS, "reference": 0.5, "update": 0.9, "driver": 0.1},
    sampling=4 * 0.5 + 8 * 0.25,
    driver={"rollout": 0.5, "reference": 0.1, "update": 0.2, "broadcast": 0.5},
)


def costs(seen) -> Costs:
    return costs_of({(1, 1): LARGE, **seen}, SMALL, max_running=8, weight_bytes=20)


def test_costs_are_found_again_from_two_sizes_of_batch():
    found = costs({})
    assert found.step == LinearCost(0.5, 0.25)
    # The driver spends 0.025 s more for every further episode in each of the two, and a rank
    # reads all rows in 0.1 s: 0.0375 s an episode that ranks do not divide.
    assert found.handing == pytest.approx(0.0375)
    assert (found.reference.fixed, found.reference.each) == pytest.approx((0.3, 0.0625))
    assert (found.update.fixed, found.update.each) == pytest.approx((0.5, 0.1625))
    assert found.driver == LinearCost(0.0, 0.05)
    # All episodes end in the same step: one part, of two and of eight.
    assert (found.reading.fixed, found.reading.each) == pytest.approx((0.4, 0.05))
    assert (found.broadcast, found.row_bytes, found.weight_bytes) == (7.0, 50.0, 20)


def test_further_processes_cost_what_the_driver_spends_more_on_them():
    three = replace(LARGE, driver={**BUSY, "broadcast": 0.9})
    two = replace(LARGE, driver={**BUSY, "reference": 0.3, "update": 0.7})
    found = costs({(3, 1): three, (1, 2): two, (3, 2): replace(LARGE, driver={})})
    # 0.4 s for two further actors, in one phase; 0.4 s for one further rank, in two.
    assert found.per_actor == pytest.approx(0.4 / 2)
    assert found.per_rank == pytest.approx(0.4 / 2)
    assert (costs({}).per_actor, costs({}).per_rank) == (0.0, 0.0)


def test_an_arrangement_is_the_recipe_on_other_processes():
    recipe = load(Path("configs/arithmetic.yaml"))
    two = arrange(recipe, 4, 2)
    assert (two.rollout.num_actors, two.learner.num_ranks, two.learner.zero_stage) == (4, 2, 2)
    assert arrange(two, 1, 1).learner.zero_stage == 2
    assert arrange(recipe, 1, 1) == recipe
    assert resize(recipe, 4).rollout.problems == recipe.rollout.problems // 4
    assert resize(recipe, 10**6).rollout.problems == 1
