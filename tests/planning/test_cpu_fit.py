"""Whether the processes of a run fit onto nodes without GPUs, in numbers computed by hand."""

from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.planning.cpu_fit import ACTOR, RANK, CpuDemand, check_nodes, cpu_demands
from score_ray.planning.gpus import GIB
from score_ray.planning.model_shape import ModelShape
from score_ray.types import ConfigError

SHAPE = ModelShape(2, 64, 128, 2, 2, 32, 100, True, 2, GIB // 4, ())  # float32: 1 GiB of weights


def demand(*overrides: str) -> dict[str, float]:
    """The GiB of each process by role."""
    config = load(Path("configs/arithmetic.yaml"), ["rollout.kv_cache_gb=2", *overrides])
    return {each.role: each.memory / GIB for each in cpu_demands(config, SHAPE)}


def refusal(demands: list[CpuDemand], *nodes: dict[str, float]) -> str:
    with pytest.raises(ConfigError) as caught:
        check_nodes(demands, nodes)
    return str(caught.value)


def node(cores: int, gib: float) -> dict[str, float]:
    return {"CPU": float(cores), "memory": gib * GIB / 2, "object_store_memory": gib * GIB / 2}


@pytest.mark.parametrize(
    ("overrides", "engine", "rank"),
    [
        ([], 3.5, 5.5),  # half a GiB of process; weights and cache; 3 weights and 2 moments
        (["learner.num_ranks=2"], 3.5, 5.5),
        (["learner.num_ranks=2", "learner.zero_stage=2"], 3.5, 4.5),
        (["learner.num_ranks=2", "learner.zero_stage=3"], 3.5, 3.0),
        (["learner.lora.rank=4"], 3.5, 1.5),
    ],
)
def test_the_memory_of_a_process_is_its_model_its_states_and_its_libraries(overrides, engine, rank):
    assert demand(*overrides) == {ACTOR: engine, RANK: rank}


@pytest.mark.parametrize(
    ("actors", "ranks", "nodes"),
    [
        (4, 4, [node(2, 24)]),
        (16, 16, [node(2, 96)]),
        (1, 1, [node(1, 6)]),
        (40, 1, [node(2, 64), node(4, 64)]),
        (2, 1, [{"CPU": 2.0}]),  # a node that does not say how much memory it has
    ],
)
def test_what_fits_is_not_refused(actors, ranks, nodes):
    check_nodes([CpuDemand(ACTOR, actors, 3 * GIB), CpuDemand(RANK, ranks, 3 * GIB)], nodes)


@pytest.mark.parametrize(
    ("actors", "ranks", "text"),
    [
        (500, 1, "rollout.num_actors=500: this machine has no GPU and 2 CPU cores, enough for 16 "
                 "rollout actors at most (8 on a core)"),
        (17, 1, "rollout.num_actors=17: this machine has no GPU and 2 CPU cores, enough for 16 "
                "rollout actors at most (8 on a core)"),
        (1, 64, "learner.num_ranks=64: this machine has no GPU and 2 CPU cores, enough for 16 "
                "learner ranks at most (8 on a core)"),
        (12, 1, "rollout.num_actors=12: the run needs at least 31.0 GiB of memory for 12 rollout "
                "actors (2.5 GiB each) and 1 learner rank (1.0 GiB); this machine has 24.0 GiB: "
                "rollout.num_actors can be 9"),
    ],
)  # fmt: skip
def test_too_many_processes_are_named_with_how_many_there_can_be(actors, ranks, text):
    demands = [CpuDemand(ACTOR, actors, 5 * GIB // 2), CpuDemand(RANK, ranks, GIB)]
    assert refusal(demands, node(2, 24)) == text


def test_the_nodes_of_a_cluster_count_together():
    demands = [CpuDemand(ACTOR, 100, GIB)]
    text = refusal(demands, node(2, 8), node(4, 8))
    assert text.startswith("rollout.num_actors=100: the 2 nodes have no GPU and 6 CPU cores")
    text = refusal([CpuDemand(ACTOR, 20, GIB)], node(2, 8), node(4, 8))
    assert "the 2 nodes have 16.0 GiB: rollout.num_actors can be 16" in text


def test_a_model_that_is_too_large_for_one_process_is_named():
    text = refusal([CpuDemand(ACTOR, 1, 3 * GIB), CpuDemand(RANK, 1, 30 * GIB)], node(2, 24))
    assert text.startswith("learner.num_ranks=1: the run needs at least 33.0 GiB")
    assert text.endswith("this machine has 24.0 GiB: choose a smaller model")


def test_an_engine_that_is_too_large_names_its_cache_too():
    text = refusal([CpuDemand(ACTOR, 1, 30 * GIB), CpuDemand(RANK, 1, GIB)], node(2, 24))
    assert text.endswith("choose a smaller rollout.kv_cache_gb or model")
