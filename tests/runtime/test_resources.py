"""Requests for GPUs, and which of them fit onto hand-made clusters."""

from dataclasses import replace
from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.runtime.resources import (
    ResourceRequest,
    separate,
    shortfall,
    threads_per_process,
    training_requests,
)
from score_ray.types import ConfigError

ACTORS, RANKS = ResourceRequest("rollout actor", 4, 2), ResourceRequest("learner rank", 4)
SHARED = replace(ACTORS, colocated=ResourceRequest("learner rank", 8))


def requested(actors: int, tensor_parallel: int, ranks: int, share: bool) -> list[ResourceRequest]:
    overrides = [
        f"rollout.num_actors={actors}",
        f"rollout.tensor_parallel={tensor_parallel}",
        f"learner.num_ranks={ranks}",
        f"rollout.share_gpus={str(share).lower()}",
    ]
    return training_requests(load(Path("configs/arithmetic.yaml"), overrides))


@pytest.mark.parametrize(
    ("requests", "nodes"),
    [
        ([ACTORS, RANKS], [8, 4]),
        ([ACTORS, RANKS], [3, 3, 3, 3]),  # an engine and a rank on every node
        ([ACTORS, RANKS], [0, 0]),  # all roles use the same CPUs
        ([ResourceRequest("rollout actor", 1, 8), ResourceRequest("learner rank", 8)], [8, 8]),
        ([ResourceRequest("learner rank", 8), ResourceRequest("rollout actor", 1, 8)], [8, 8]),
    ],
)
def test_requests_that_fit_are_not_short(requests, nodes):
    assert shortfall(requests, nodes) == ""


def test_too_few_gpus_are_named_with_those_requested_and_those_there_are():
    assert shortfall([ACTORS, RANKS], [4, 4, 0]) == (
        "the run needs GPUs: 8 for 4 rollout actors of 2 GPUs each and 4 for 4 learner ranks; "
        "the cluster has 8, by node [4, 4, 0]"
    )


def test_an_engine_that_no_node_can_hold_is_named():
    assert shortfall([ResourceRequest("rollout actor", 1, 4)], [3, 3]) == (
        "a rollout actor needs 4 GPUs of one node; the cluster has 6, by node [3, 3]"
    )


def test_gpus_that_are_many_enough_but_scattered_are_short():
    assert "needs 2 GPUs of one node" in shortfall([ACTORS], [3, 3, 2])


@pytest.mark.parametrize("nodes", [[8], [4, 4], [2, 2, 2, 2], [0]])
def test_gpus_that_are_shared_are_counted_once(nodes):
    assert shortfall([SHARED], nodes) == ""


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            [4, 3],
            "the run needs GPUs: 8 for 4 rollout actors of 2 GPUs each, shared with 8 learner "
            "ranks; the cluster has 7, by node [4, 3]",
        ),
        ([5, 3], "a rollout actor needs 2 GPUs of one node; the cluster has 8, by node [5, 3]"),
    ],
)
def test_too_few_shared_gpus_are_named(nodes, words):
    assert shortfall([SHARED], nodes) == words


def test_separate_requests_are_for_the_same_processes():
    ranks = ResourceRequest("learner rank", 8)
    assert separate([SHARED, RANKS]) == separate([ACTORS, ranks, RANKS]) == [ACTORS, ranks, RANKS]


@pytest.mark.parametrize(("actors", "each", "ranks"), [(1, 1, 1), (3, 1, 3), (1, 4, 4), (3, 2, 6)])
def test_a_rank_on_every_gpu_of_every_engine_can_be_shared(actors, each, ranks):
    (request,) = requested(actors, each, ranks, share=True)
    assert request == ResourceRequest(
        "rollout actor", actors, each, colocated=ResourceRequest("learner rank", ranks)
    )


def test_without_sharing_both_roles_request_gpus():
    assert requested(4, 2, 4, share=False) == [ACTORS, RANKS]


@pytest.mark.parametrize(("actors", "each", "ranks"), [(1, 1, 2), (2, 1, 1), (1, 2, 1), (3, 2, 3)])
def test_any_other_number_of_ranks_is_an_error_that_names_the_three_keys(actors, each, ranks):
    with pytest.raises(
        ConfigError,
        match=r"learner\.num_ranks must be rollout\.num_actors times rollout\.tensor_parallel, "
        rf"{actors * each}; it is {ranks}",
    ):
        requested(actors, each, ranks, share=True)


@pytest.mark.parametrize(
    ("cores", "count", "nodes", "threads"), [(8, 1, 1, 8), (8, 4, 1, 2), (8, 4, 3, 4), (2, 4, 1, 1)]
)
def test_like_processes_share_the_cores_of_their_node(cores, count, nodes, threads):
    assert threads_per_process(cores, count, nodes) == threads
