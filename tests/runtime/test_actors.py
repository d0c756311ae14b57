"""Pool and learner group on real Ray: they keep their promises whichever process dies."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest
import ray
import torch
from ray.exceptions import RayActorError
from transformers import LlamaForCausalLM

from score_ray.algorithm.batch import Row
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.types import LearnerLost, RunError, SamplingPlan
from score_ray.weights.probe import WeightMismatch
from tests.support.setups import RATE
from tests.support.tiny_model import (
    ADVANTAGES,
    PART_BYTES,
    PROBE,
    PROBLEMS,
    ROWS,
    Events,
    make_group,
    make_model,
    make_pool,
    on_ray,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]
PLAN = SamplingPlan(seed=1, samples=3, attempts=2, max_tokens=4, temperature=1.0)
GRACE = 10.0  # seconds; a busy machine must not count as a lost process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(make_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def events():
    return Events()


@pytest.fixture(scope="module")
def where():
    with on_ray(num_actors=3, num_ranks=2) as placements:
        yield placements


@pytest.fixture(scope="module")
def pool(where, folder, events):
    made = make_pool(where[0][:2], folder, events, GRACE)
    made.wait_ready()
    return made


@pytest.fixture(scope="module")
def group(where, folder, events):
    made = make_group(where[1], folder, events, grace=GRACE)
    made.wait_ready()
    return made


@pytest.fixture(scope="module")
def channel(pool, group):
    return WeightChannel(group, pool, PROBE, 1e-3, PART_BYTES)


def logprobs(model: LlamaForCausalLM, row: Row) -> torch.Tensor:
    """[tokens - 1] log-probs of every token but the first."""
    ids = torch.tensor(row.token_ids)
    return model(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]


def pid_of(actor) -> int:
    return ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=60)


def pids(pool) -> list[int]:
    return [pid_of(slot.actor) for slot in pool._slots]


def keys(episodes) -> list[tuple[int, int]]:
    return sorted((e.problem.index, e.sample) for e in episodes)


def expected_keys(samples: int) -> list[tuple[int, int]]:
    return [(problem.index, number) for problem in PROBLEMS for number in range(samples)]


def test_reference_sums_are_the_base_models_log_probs_per_attempt(group, folder):
    model = LlamaForCausalLM.from_pretrained(folder)
    expected = [
        [logprobs(model, row)[torch.tensor(row.turn_ids[1:]) == turn].sum().item()
         for turn in (1, 2)]
        for row in ROWS
    ]  # fmt: skip
    np.testing.assert_allclose(group.reference_sums(ROWS, 2), expected, atol=1e-5)


def test_both_actors_sample_and_every_problem_comes_as_often_as_requested(pool):
    episodes = [e for part in pool.sample(PROBLEMS, PLAN) for e in part]
    assert keys(episodes) == expected_keys(3)


def test_an_update_is_plain_adamw_on_the_reinforce_loss_and_a_stale_engine_is_caught(
    pool, group, channel, folder, monkeypatch
):
    checked = channel.broadcast(0)
    assert checked.mismatch < 1e-5
    assert checked.engines == 2

    old = group.packed_weights(PART_BYTES)
    assert len(old) > 2
    group.update(ROWS, ADVANTAGES, 0)
    with monkeypatch.context() as patch:
        patch.setattr(group, "packed_weights", lambda _: old)
        with pytest.raises(WeightMismatch, match="rollout actor 0"):
            channel.broadcast(1)
    assert channel.broadcast(1).mismatch < 1e-5

    model = LlamaForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    loss = torch.zeros(())
    for row, weights in zip(ROWS, torch.tensor(ADVANTAGES), strict=True):
        row_logprobs = logprobs(model, row)
        for turn in (1, 2):
            drawn = torch.tensor(row.turn_ids[1:]) == turn
            loss = loss - weights[turn - 1].float() * row_logprobs[drawn].sum() / len(ROWS)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        expected = [logprobs(model, row).tolist() for row in ROWS]
    for ours, theirs in zip(group.score(PROBE), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("how", "words"),
    [(signal.SIGKILL, "the process died"), (signal.SIGSTOP, "no sign of life for ")],
)
def test_an_actor_lost_while_sampling_is_replaced_and_every_episode_comes_once(
    how, words, pool, channel, events
):
    served = channel.broadcast(2)
    before = pids(pool)
    plan = replace(PLAN, samples=100, max_tokens=12)
    stream = pool.sample(PROBLEMS, plan)
    episodes = list(next(stream))
    os.kill(before[1], how)
    began = time.monotonic()
    episodes += [e for part in stream for e in part]
    assert time.monotonic() - began < 60
    assert keys(episodes) == expected_keys(100)
    assert {a.version for e in episodes for a in e.attempts} == {2}
    pool.wait_ready()
    assert pool.take_restarts() == 1
    assert pool.take_restarts() == 0
    assert (pids(pool)[0] == before[0], pids(pool)[1] == before[1]) == (True, False)
    assert events[-2][1] == "rollout actor 1"
    assert events[-2][2].startswith(words)
    assert events[-2][2].endswith(" while sampling; being replaced")
    assert events[-1][1:] == ("rollout actor 1", "serves again")
    # The new actor has been given and checked on what the others serve.
    assert pool._mismatches["rollout actor 1"] == pytest.approx(served.mismatch, abs=1e-5)


def test_a_sample_call_that_is_given_up_leaves_no_actor_busy_with_it(pool, channel):
    stream = pool.sample(PROBLEMS, replace(PLAN, samples=300, max_tokens=12))
    next(stream)
    stream.close()
    assert channel.broadcast(3).engines == 2
    episodes = [e for part in pool.sample(PROBLEMS, PLAN) for e in part]
    assert keys(episodes) == expected_keys(3)
    assert pool.take_restarts() == 0


def test_when_all_actors_die_their_successors_do_the_work(pool, channel):
    channel.broadcast(3)
    for pid in pids(pool):
        os.kill(pid, signal.SIGKILL)
    episodes = [e for part in pool.sample(PROBLEMS, PLAN) for e in part]
    assert keys(episodes) == expected_keys(3)
    assert {a.version for e in episodes for a in e.attempts} == {3}
    pool.wait_ready()
    assert pool.take_restarts() == 2


def test_an_actor_that_died_before_a_broadcast_gets_it_when_it_joins(pool, channel):
    os.kill(pids(pool)[0], signal.SIGKILL)
    assert channel.broadcast(4).engines == 1
    pool.wait_ready()
    episodes = [e for part in pool.sample(PROBLEMS, PLAN) for e in part]
    assert {a.version for e in episodes for a in e.attempts} == {4}
    assert pool.take_restarts() == 1


def test_weights_lost_on_their_way_count_as_a_loss_of_the_learner(
    pool, group, channel, monkeypatch
):
    gone = ray.remote(num_cpus=0, max_retries=0)(lambda: os._exit(1)).remote()
    parts = [*group.packed_weights(PART_BYTES)[:1], gone]
    with monkeypatch.context() as patch:
        patch.setattr(group, "packed_weights", lambda _: parts)
        with pytest.raises(LearnerLost, match="a part of the weights is lost"):
            channel.broadcast(5)
    channel.broadcast(6)
    pool.wait_ready()
    episodes = [e for part in pool.sample(PROBLEMS, PLAN) for e in part]
    assert {a.version for e in episodes for a in e.attempts} == {6}


def test_an_actor_whose_first_weights_are_lost_starts_with_newer_ones_on_their_way(pool, channel):
    channel.broadcast(7)
    gone = ray.remote(num_cpus=0, max_retries=0)(lambda: os._exit(1)).remote()
    pool._weights = replace(pool._weights, pack=lambda: [gone])
    stream = pool.sample(PROBLEMS, replace(PLAN, samples=100, max_tokens=12))
    next(stream)
    os.kill(pids(pool)[1], signal.SIGKILL)
    assert sum(len(part) for part in stream) > 0  # while the new actor is starting
    channel.broadcast(8)
    pool.wait_ready()
    episodes = [e for part in pool.sample(PROBLEMS, PLAN) for e in part]
    assert {a.version for e in episodes for a in e.attempts} == {8}
    assert pool.take_restarts() == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_rank_is_named_and_the_group_restarts_where_it_was_saved(
    how, group, events, tmp_path
):
    group.save(tmp_path)
    saved = group.score(PROBE)
    expected = group.update(ROWS, ADVANTAGES, 0)
    os.kill(pid_of(group._ranks["learner rank 1"]), how)
    began = time.monotonic()
    with pytest.raises(LearnerLost) as caught:
        group.update(ROWS, ADVANTAGES, 1)
    assert time.monotonic() - began < 3 * GRACE
    assert "learner rank 1" in caught.value.who
    group.restart(caught.value)
    group.restore(tmp_path)
    np.testing.assert_allclose(group.score(PROBE)[0], saved[0], atol=1e-6)
    again = group.update(ROWS, ADVANTAGES, 0)
    assert again.loss == pytest.approx(expected.loss, abs=1e-6)
    assert again.grad_norm == pytest.approx(expected.grad_norm, abs=1e-5)
    assert group.take_restarts() == 1
    assert events[-1][1:] == (caught.value.who, "all ranks are back")


@pytest.fixture(scope="module")
def wide_pool(where, folder, events):
    """One actor whose engine takes two more processes, and no retries."""
    made = make_pool(where[0][2:], folder, events, retries=0, tensor_parallel=2)
    made.wait_ready()
    return made


def test_an_engine_over_two_processes_serves_what_it_is_sent_and_they_die_with_its_actor(
    wide_pool, group
):
    channel = WeightChannel(group, wide_pool, PROBE, 1e-3, PART_BYTES)
    group.update(ROWS, ADVANTAGES, 0)
    assert channel.broadcast(1).mismatch < 1e-5
    assert keys(e for part in wide_pool.sample(PROBLEMS, PLAN) for e in part) == expected_keys(3)
    actor = psutil.Process(pids(wide_pool)[0])
    workers = [p for p in actor.children(recursive=True) if "Worker" in p.name()]
    assert len(workers) == 2
    os.kill(actor.pid, signal.SIGKILL)
    assert not psutil.wait_procs([actor, *workers], timeout=20)[1]


def test_losses_beyond_the_retries_are_one_named_error(wide_pool):
    """Its only actor has died in the test before, or dies here."""
    with suppress(RayActorError):
        os.kill(pids(wide_pool)[0], signal.SIGKILL)
    with pytest.raises(
        RunError, match=r"rollout actor 0: the process died .* \(recovery.retries\)"
    ):
        list(wide_pool.sample(PROBLEMS, PLAN))
