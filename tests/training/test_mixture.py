from collections import Counter

import pytest
import torch

from score_ray.reporting.json_lines import read_jsonl
from score_ray.training.checkpoint import Checkpoint, read_progress
from score_ray.training.iteration import draw
from score_ray.training.mixture import check_mixture, hold_out
from score_ray.types import ConfigError, Problem
from tests.support import fake_roles


def problems(**sizes):
    """As many problems of each source, with indices that run through all of them."""
    sources = [source for source, size in sizes.items() for _ in range(size)]
    return [Problem(i, f"{i}?", str(i), source=source, row=i) for i, source in enumerate(sources)]


def turns(weights, count, iterations=1):
    """The sources of the problems of some iterations as one text."""
    pool = problems(**dict.fromkeys(weights, 300))
    parts = [draw(pool, count, 0, i, weights) for i in range(iterations)]
    return "".join(problem.source for part in parts for problem in part)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"a": 2.0, "b": 1.0}, "aabaabaab"),
        ({"a": 1.0, "b": 1.0}, "abababab"),
        ({"a": 0.6, "b": 0.2, "c": 0.2}, "aabacaabac"),
        ({"a": 1.0}, "aaaa"),
    ],
)
def test_the_sets_come_in_turn_by_their_weights(weights, expected):
    assert turns(weights, len(expected)) == expected


def test_the_turns_do_not_depend_on_the_size_of_an_iteration():
    weights = {"a": 5.0, "b": 3.0, "c": 0.5}
    assert turns(weights, 4, 30) == turns(weights, 120, 1) == turns(weights, 10, 12)


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 0.7, "b": 0.2, "c": 0.1},
        {"a": 1.0, "b": 3.25, "c": 0.03},
        {"a": 1e-3, "b": 1.0},
        {"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0, "e": 1.0},
    ],
)
def test_after_any_iteration_each_set_is_within_one_problem_of_its_share(weights):
    total, counts = sum(weights.values()), Counter()
    for iteration in range(40):
        counts.update(turns(weights, 7 * (iteration + 1))[7 * iteration :])
        for source, weight in weights.items():
            assert abs(counts[source] - 7 * (iteration + 1) * weight / total) < 1


def test_each_set_has_its_own_epochs_and_no_problem_comes_twice_within_one():
    pool, weights = problems(a=12, b=4), {"a": 1.0, "b": 1.0}
    drawn = [draw(pool, 4, 3, i, weights) for i in range(12)]
    of_a = [p.index for part in drawn for p in part if p.source == "a"]
    of_b = [p.index for part in drawn for p in part if p.source == "b"]
    assert sorted(of_a) == sorted(list(range(12)) * 2)
    assert sorted(of_b) == sorted(list(range(12, 16)) * 6)
    assert sorted(of_a[:12]) == sorted(of_a[12:]) == list(range(12))
    assert of_a[:12] != of_a[12:]
    assert all(sorted(of_b[i : i + 4]) == list(range(12, 16)) for i in range(0, 24, 4))


def test_no_problem_comes_twice_within_an_iteration_at_the_end_of_an_epoch():
    pool, weights = problems(a=7, b=50), {"a": 1.0, "b": 2.0}
    for iteration in range(60):
        drawn = [p.index for p in draw(pool, 8, 0, iteration, weights)]
        assert len(set(drawn)) == 8


def test_an_iteration_is_a_function_of_its_number_and_the_seed():
    pool, weights = problems(a=30, b=9), {"a": 2.0, "b": 1.0}
    later = draw(pool, 6, 1, 5, weights)
    assert later == draw(list(pool), 6, 1, 5, dict(weights))
    assert later != draw(pool, 6, 2, 5, weights)
    assert later != draw(pool, 6, 1, 4, weights)


def test_without_weights_the_order_is_that_of_a_single_data_set():
    pool = problems(a=10)
    drawn = [[p.index for p in draw(pool, 4, 0, i)] for i in range(3)]
    assert drawn == [[1, 9, 2, 4], [5, 3, 7, 6], [5, 0, 8, 9]]


@pytest.mark.parametrize(
    ("count", "held"), [(3, [8, 9, 14]), (0, []), (6, [6, 7, 8, 9, 13, 14]), (1, [9])]
)
def test_held_out_problems_come_from_every_set_by_weight(count, held):
    pool = problems(a=10, b=5)
    train, held_out = hold_out(pool, count, {"a": 2.0, "b": 1.0})
    assert [p.index for p in held_out] == held
    assert [p.index for p in train] == [i for i in range(15) if i not in held]


def test_held_out_problems_of_a_single_data_set_are_the_last_ones():
    pool = problems(a=5)
    assert hold_out(pool, 2, {}) == (pool[:3], pool[3:])
    assert hold_out(pool, 0, {}) == (pool, [])


def test_a_set_that_cannot_fill_its_part_of_an_iteration_is_named():
    weights = {"a": 2.0, "b": 1.0}
    check_mixture(problems(a=6, b=3), 9, 0, weights)
    check_mixture(problems(a=4, b=2), 3, 3, weights)
    check_mixture(problems(a=5), 9, 0, {})
    for pool, held_out in ((problems(a=6, b=2), 0), (problems(a=6, b=3), 3)):
        with pytest.raises(
            ConfigError, match=r"task\.train: [ab] has . problems; .* up to [36] of"
        ):
            check_mixture(pool, 9, held_out, weights)
    with pytest.raises(ConfigError, match="b has 0 problems"):
        check_mixture(problems(a=60), 9, 0, weights)


SETS = ["task={name: math, test: t, train: [{path: a, weight: 2.0}, {path: b}]}"]


@pytest.mark.parametrize(
    "more", [["rollout.offline_share=0.4"], ["rollout.overlap=1", "learner.max_importance=2.0"]]
)
def test_a_run_on_two_sets_goes_on_after_a_cut_as_it_would_have(tmp_path, monkeypatch, more):
    monkeypatch.setattr(fake_roles, "PROBLEMS", problems(a=10, b=4))
    whole = fake_roles.run(tmp_path / "whole", more=[*SETS, *more])
    fake_roles.run(tmp_path / "cut", more=[*SETS, *more])
    saved = sorted((tmp_path / "cut/checkpoints").iterdir())[0]
    progress = read_progress(saved)
    again = fake_roles.run(tmp_path / "cut", Checkpoint(saved, progress), more=[*SETS, *more])
    torch.testing.assert_close(again.logits, whole.logits)
    assert fake_roles.metrics(tmp_path / "cut") == fake_roles.metrics(tmp_path / "whole")
    records = read_jsonl(tmp_path / "whole/generations.jsonl")
    assert {record["source"] for record in records} == {"a", "b"}
    assert all(record["row"] == record["problem"] for record in records)
