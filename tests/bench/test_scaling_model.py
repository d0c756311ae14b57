"""The scaling model on cases small enough to count by hand."""

import pytest

from score_ray.bench.scaling_model import (
    FREE,
    Cluster,
    Costs,
    LinearCost,
    best,
    iteration,
    more_groups,
    rollout,
    steps_of,
)

CLUSTER = Cluster(gpus_per_node=8, bytes_per_second=10.0, hop_latency=0.0, polling=0.0)


def costs(**measured):
    nothing = {"step": FREE, "reference": FREE, "update": FREE, "driver": FREE, "broadcast": 0.0}
    return Costs(**{**nothing, **measured})


STEP = costs(step=LinearCost(1.0, 0.5))


def seconds(groups, actors, given=STEP, cluster=CLUSTER, max_running=8):
    return rollout(groups, actors, given, cluster, max_running)[0]


def test_steps_request_steps_and_endings_of_an_engine_are_counted():
    assert steps_of([3, 1], max_running=8) == (3, 4, 2)
    assert steps_of([3, 3], max_running=8) == (3, 6, 1)
    assert steps_of([3, 1], max_running=1) == (4, 4, 2)
    # The third starts when the second has ended, and ends together with the first.
    assert steps_of([3, 1, 2], max_running=2) == (3, 6, 2)


def test_two_episodes_on_one_actor_take_the_longer_ones_steps_and_a_part_for_each_token():
    assert seconds([[3, 1]], 1) == 3 * 1.0 + 4 * 0.5
    assert seconds([[3, 1]], 1, max_running=1) == 4 * 1.0 + 4 * 0.5


def test_actors_divide_the_part_per_token_and_not_the_longest_episode():
    groups = [[4, 4]] * 8
    assert seconds(groups, 1, max_running=64) == 4 * 1.0 + 64 * 0.5
    assert seconds(groups, 2, max_running=64) == 4 * 1.0 + 32 * 0.5
    assert seconds(groups, 8) == seconds(groups, 100) == 4 * 1.0 + 8 * 0.5
    assert rollout(groups, 1, STEP, CLUSTER, 64)[1]["longest episode"] == 8.0


def test_one_long_episode_bounds_the_iteration_whatever_the_others_are():
    groups = [[100]] + [[1]] * 63
    assert seconds(groups, 64, max_running=64) == 100 * 1.5
    simulated = iteration(groups, (64, 1), STEP, CLUSTER, 64)
    assert (simulated.limit, simulated.undivided_share) == ("longest episode", 1.0)


def test_rollout_waits_for_a_driver_that_reads_slowly():
    slow = costs(step=LinearCost(0.01, 0.0), reading_part=LinearCost(0.5, 1.75))
    assert rollout([[4, 4], [2, 2]], 2, slow, CLUSTER, 8) == (
        2 * 0.5 + 4 * 1.75,  # a part from each actor, four episodes
        {"driver, reading": 8.0, "calling processes": 0.0},
    )


def test_the_driver_looks_at_every_further_actor_whenever_one_has_episodes():
    # Three actors; the engines have 2, 1 and 1 steps in which an episode ends.
    groups, slow_polling = [[4, 1], [2, 2], [2, 2]], Cluster(polling=3.0)
    assert seconds(groups, 3, costs(step=LinearCost(0.01, 0.0)), slow_polling) == 3.0 * 2 * 4


def test_every_further_actor_and_rank_costs_the_driver_a_call():
    simulated = iteration([[1]] * 8, (5, 3), costs(per_actor=1.0, per_rank=10.0), CLUSTER, 8)
    assert simulated.phases == {
        "rollout": 4.0, "reference": 20.0, "update": 20.0, "broadcast": 4.0, "driver": 0.0
    }  # fmt: skip
    assert (simulated.limit, simulated.undivided["calling processes"]) == (
        "calling processes",
        48.0,
    )


def test_ranks_divide_their_episodes_and_sum_their_gradients():
    given = costs(
        reference=LinearCost(1.0, 2.0), update=LinearCost(3.0, 4.0), driver=LinearCost(0.5, 0.25),
        broadcast=7.0, weight_bytes=20.0,
    )  # fmt: skip
    groups = [[1, 1]] * 4
    one = iteration(groups, (1, 1), given, CLUSTER, 8).phases
    assert (one["reference"], one["update"], one["driver"]) == (17.0, 35.0, 2.5)
    # 2 s for the weights over the network: 2 * 3/4 of that for a ring of four.
    four = iteration(groups, (1, 4), given, CLUSTER, 8).phases
    assert (four["reference"], four["update"], four["driver"]) == (5.0, 11.0 + 3.0, 2.5)
    # A rank has whole episodes: the slowest of three has three of the eight.
    assert iteration(groups, (1, 3), given, CLUSTER, 8).phases["reference"] == 7.0


def test_a_ring_has_a_latency_for_each_of_its_hops():
    simulated = iteration([[1]], (1, 5), costs(), Cluster(hop_latency=0.5), 8)
    assert simulated.phases["update"] == 2 * 4 * 0.5
    assert simulated.limit == "all-reduce"


def test_rows_that_every_rank_reads_are_not_divided_and_cross_the_network_once_per_node():
    given = costs(sending_rows=1.0, row_bytes=5.0)
    assert iteration([[1]] * 4, (1, 8), given, CLUSTER, 8).phases["reference"] == 4.0
    assert iteration([[1]] * 4, (1, 24), given, CLUSTER, 8).phases["reference"] == 4.0 + 4 * 1.0


def test_a_broadcast_passes_the_weights_once_to_every_further_node():
    given = costs(broadcast=7.0, weight_bytes=20.0)
    assert iteration([[1]] * 64, (8, 1), given, CLUSTER, 8).phases["broadcast"] == 7.0
    many = iteration([[1]] * 64, (32, 1), given, CLUSTER, 8)
    assert (many.phases["broadcast"], many.limit) == (7.0 + 3 * 2.0, "broadcast")


def test_the_rate_never_exceeds_what_the_undivided_part_allows():
    # 90 s that are divided, 10 s that are not: ten times the rate at most, however many actors.
    given = costs(step=LinearCost(0.0, 1.0), driver=LinearCost(10.0, 0.0))
    groups = [[1]] * 90
    one = iteration(groups, (1, 1), given, CLUSTER, 90)
    assert (one.seconds, one.limit) == (100.0, "rollout")
    nine, ninety = (iteration(groups, (n, 1), given, CLUSTER, 90) for n in (9, 90))
    assert nine.rate / one.rate == pytest.approx(100 / 20)
    assert ninety.rate / one.rate == pytest.approx(100 / 11)
    assert (ninety.limit, ninety.undivided_share) == ("driver", 1.0)


def test_the_largest_divided_phase_is_named_while_most_is_divided():
    given = costs(
        step=LinearCost(0.0, 1.0), update=LinearCost(0.0, 3.0), driver=LinearCost(20.0, 0.0)
    )
    simulated = iteration([[1]] * 32, (1, 1), given, CLUSTER, 32)
    assert (simulated.limit, simulated.seconds) == ("update", 148.0)
    assert simulated.undivided_share == pytest.approx(21 / 148)


@pytest.mark.parametrize("actors", [1, 2, 3, 7, 64, 200])
def test_tokens_are_conserved_over_every_split(actors):
    groups = [[n % 5 + 1, n % 3 + 1] for n in range(64)]
    tokens = sum(map(sum, groups))
    shares = [[t for g in groups[a::actors] for t in g] for a in range(min(actors, 64))]
    assert sum(steps_of(share, 4)[1] for share in shares) == tokens
    free_steps = costs(step=LinearCost(0.0, 1.0))
    assert seconds(groups, actors, free_steps, max_running=4) >= tokens / actors


def test_the_best_split_gives_the_slower_side_more():
    groups = [[10] * 4] * 64
    slow_sampling = costs(step=LinearCost(0.0, 1.0), update=LinearCost(0.0, 1.0))
    assert best(groups, 32, slow_sampling, CLUSTER, 256).actors > 16
    slow_learning = costs(step=LinearCost(0.0, 0.001), update=LinearCost(0.0, 1.0))
    assert best(groups, 32, slow_learning, CLUSTER, 256).ranks > 16
    two = best(groups, 2, slow_learning, CLUSTER, 256)
    assert (two.actors, two.ranks, two.gpus) == (1, 1, 2)


def test_more_groups_repeat_the_measured_ones_and_end_with_a_part_of_them():
    measured = [[1, 2], [3, 4], [5, 6]]
    assert more_groups(measured, 3) == measured
    assert more_groups(measured, 6) == measured * 2
    rest = more_groups(measured, 2)
    assert rest[0] != rest[1]
    assert [group in measured for group in rest] == [True, True]
    assert more_groups(measured, 100) == more_groups(measured, 100)
