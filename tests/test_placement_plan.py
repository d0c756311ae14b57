"""What fits onto a cluster, from hand-made clusters."""

import pytest

from score_ray.placement.plan import Ask, shortfall, threads_each

ACTORS, RANKS = Ask("rollout actor", 4, 2), Ask("learner rank", 4)


@pytest.mark.parametrize(
    ("asks", "nodes"),
    [
        ([ACTORS, RANKS], [8, 4]),
        ([ACTORS, RANKS], [3, 3, 3, 3]),  # an engine and a rank on every node
        ([ACTORS, RANKS], [0, 0]),  # CPUs are shared
        ([Ask("rollout actor", 1, 8), Ask("learner rank", 8)], [8, 8]),
        ([Ask("learner rank", 8), Ask("rollout actor", 1, 8)], [8, 8]),
    ],
)
def test_what_fits_is_not_short(asks, nodes):
    assert shortfall(asks, nodes) == ""


def test_too_few_gpus_are_named_with_what_was_asked_and_what_there_is():
    assert shortfall([ACTORS, RANKS], [4, 4, 0]) == (
        "the run needs GPUs: 8 for 4 rollout actors of 2 GPUs each and 4 for 4 learner ranks; "
        "the cluster has 8, by node [4, 4, 0]"
    )


def test_an_engine_that_no_node_can_hold_is_named():
    assert shortfall([Ask("rollout actor", 1, 4)], [3, 3]) == (
        "a rollout actor needs 4 GPUs of one node; the cluster has 6, by node [3, 3]"
    )


def test_gpus_that_are_many_enough_but_scattered_are_short():
    assert "needs 2 GPUs of one node" in shortfall([ACTORS], [3, 3, 2])


@pytest.mark.parametrize(
    ("cores", "count", "nodes", "threads"), [(8, 1, 1, 8), (8, 4, 1, 2), (8, 4, 3, 4), (2, 4, 1, 1)]
)
def test_like_processes_share_the_cores_of_their_node(cores, count, nodes, threads):
    assert threads_each(cores, count, nodes) == threads
