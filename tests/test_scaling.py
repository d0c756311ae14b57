"""The scaling model on cases small enough to count by hand."""

import pytest

from score_ray.scaling import (
    Cluster,
    Costs,
    Line,
    Outcome,
    best,
    draw_groups,
    iteration,
    line_through,
    rollout,
    step_cost,
    steps_of,
    table_rows,
)

FREE = Line(0.0, 0.0)
COSTS = Costs(Line(1.0, 0.5), FREE, FREE, FREE, 0.0, 0.0, 0.0)
CLUSTER = Cluster(gpus_per_node=8, bytes_per_second=10.0)


def test_steps_are_counted_while_any_request_runs_and_request_steps_by_each():
    assert steps_of([3, 1], max_running=8) == (3, 4)
    assert steps_of([3, 1], max_running=1) == (4, 4)
    assert steps_of([3, 1, 2], max_running=2) == (3, 6)


def test_the_cost_of_a_step_is_found_again_from_two_measurements():
    counts = [steps_of([3, 1], 8), steps_of([5, 4, 4], 8)]
    assert step_cost([((s, r), 1.0 * s + 0.5 * r) for s, r in counts]) == Line(1.0, 0.5)


def test_a_line_goes_through_both_points_and_is_nowhere_negative():
    assert line_through((10, 2.0), (20, 3.0)) == Line(1.0, 0.1)
    assert line_through((10, 1.0), (20, 3.0)) == Line(0.0, 0.15)
    assert line_through((10, 3.0), (20, 1.0)) == Line(3.0, 0.0)


def test_one_actor_takes_the_steps_of_all_and_two_wait_for_the_longest():
    groups = [[4, 4], [2, 2]]
    assert rollout(groups, 1, COSTS, 8) == (4 * 1.0 + 12 * 0.5, "sampling")
    assert rollout(groups, 2, COSTS, 8) == (4 * 1.0 + 8 * 0.5, "longest episode")
    assert rollout(groups, 50, COSTS, 8) == rollout(groups, 2, COSTS, 8)


def test_a_driver_that_reads_slowly_is_what_rollout_waits_for():
    slow = Costs(Line(0.01, 0.0), FREE, FREE, FREE, 2.0, 0.0, 0.0)
    assert rollout([[4, 4], [2, 2]], 2, slow, 8) == (8.0, "driver reading episodes")


def test_ranks_divide_what_is_per_episode_and_pay_for_their_gradients():
    costs = Costs(FREE, Line(1.0, 2.0), Line(3.0, 4.0), Line(0.5, 0.25), 0.0, 7.0, 20.0)
    groups = [[1, 1]] * 4
    one = iteration(groups, (1, 1), costs, CLUSTER, 8).phases
    assert (one["reference"], one["update"], one["driver"]) == (17.0, 35.0, 2.5)
    four = iteration(groups, (32, 4), costs, CLUSTER, 8).phases
    assert (four["reference"], four["update"], four["driver"]) == (5.0, 11.0 + 1.5 * 2.0, 2.5)
    assert (one["broadcast"], four["broadcast"]) == (7.0, 7.0 + 2 * 2.0)


def test_the_best_split_gives_the_slower_side_more():
    groups = [[10] * 4] * 64
    sampler_bound = Costs(Line(0.0, 1.0), FREE, Line(0.0, 1.0), FREE, 0.0, 0.0, 0.0)
    found = best(groups, 32, sampler_bound, CLUSTER, 256)
    assert found.actors > found.ranks
    learner_bound = Costs(Line(0.0, 0.001), FREE, Line(0.0, 1.0), FREE, 0.0, 0.0, 0.0)
    assert best(groups, 32, learner_bound, CLUSTER, 256).ranks > 16


def test_the_limit_is_the_largest_phase_and_sampling_says_why():
    phases = {"rollout": 2.0, "driver": 3.0}
    assert Outcome(1, 1, 10, phases, "sampling").limit == "driver"
    assert Outcome(1, 1, 10, {**phases, "rollout": 4.0}, "longest episode").limit == (
        "longest episode"
    )


def test_efficiency_is_the_rate_per_gpu_against_the_smallest_arrangement():
    one = Outcome(1, 1, 10, {"rollout": 5.0}, "sampling")
    eight = Outcome(6, 2, 10, {"rollout": 2.0, "driver": 0.5}, "longest episode")
    assert table_rows([eight], one) == [
        ("8", "6 + 2", "10", "2.50", "4", "50%", "longest episode (80%)")
    ]


def test_drawn_groups_are_measured_ones_and_the_same_every_time():
    measured = [[1, 2], [3, 4], [5, 6]]
    drawn = draw_groups(measured, 50)
    assert len(drawn) == 50
    assert all(group in measured for group in drawn)
    assert drawn == draw_groups(measured, 50)
    assert sum(map(sum, drawn)) == pytest.approx(50 * 7, rel=0.3)
