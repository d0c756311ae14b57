"""Real Ray, two engines and a learner: what the handles promise the loop."""

import functools

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from score_ray.batch import Row
from score_ray.inputs import load_prompter
from score_ray.placement import Channel, LearnerGroup, RolloutPool, start_ray, stop_ray
from score_ray.prompts import Prompts
from score_ray.tasks.base_model import character_tokenizer, model_config
from score_ray.types import EngineOptions, LearnerOptions, Problem, SamplingPlan
from score_ray.weights.probe import WeightMismatch

pytestmark = pytest.mark.ray
ROWS = [
    Row((1, 2, 10, 3, 4, 11), (0, 0, 0, 1, 0, 2), (0.0,) * 6),
    Row((5, 5, 10, 3, 1), (0, 0, 1, 0, 2), (0.0,) * 5),
]
ADVANTAGES = np.array([[0.5, -1.0], [0.25, 2.0]])
RATE = 0.01


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(model_config(tokenizer, tied=True)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def roles(folder):
    start_ray()
    make_prompter = functools.partial(load_prompter, folder, Prompts("{question}", "?"))
    pool = RolloutPool(2, EngineOptions(folder, "float32", 32, 64, 2**27), make_prompter)
    learner = LearnerGroup(1, LearnerOptions(folder, "float32", 1.0, 0, RATE, 0, 0.0, 1e9), 4096)
    pool.wait_ready()
    learner.wait_ready()
    yield pool, learner
    stop_ray()


def logprobs(model: LlamaForCausalLM, row: Row) -> torch.Tensor:
    """[tokens - 1] log-probs of every token but the first."""
    ids = torch.tensor(row.token_ids)
    return model(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]


def test_reference_sums_are_the_base_models_log_probs_per_attempt(roles, folder):
    model = LlamaForCausalLM.from_pretrained(folder)
    expected = [
        [logprobs(model, row)[torch.tensor(row.turn_ids[1:]) == turn].sum().item()
         for turn in (1, 2)]
        for row in ROWS
    ]  # fmt: skip
    np.testing.assert_allclose(roles[1].reference_sums(ROWS, 2), expected, atol=1e-5)


def test_both_actors_sample_and_every_problem_comes_as_often_as_asked(roles):
    problems = [Problem(i, f"{i}+1=", "") for i in range(5)]
    found = [e for part in roles[0].sample(problems, SamplingPlan(1, 3, 2, 4, 1.0)) for e in part]
    keys = sorted((e.problem.index, e.sample) for e in found)
    assert keys == [(i, s) for i in range(5) for s in range(3)]


def test_an_update_is_plain_adamw_on_the_reinforce_loss_and_a_stale_engine_is_caught(roles, folder):
    pool, learner = roles
    channel = Channel(learner, pool, [row.token_ids for row in ROWS], bound=1e-3)
    assert channel.broadcast(0) < 1e-5

    learner.update(ROWS, ADVANTAGES, 0)
    load, pool.load_weights = pool.load_weights, lambda packed, version: None
    with pytest.raises(WeightMismatch, match="rollout actor 0"):
        channel.broadcast(1)
    pool.load_weights = load
    assert channel.broadcast(1) < 1e-5

    model = LlamaForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    loss = torch.zeros(())
    for row, weights in zip(ROWS, torch.tensor(ADVANTAGES), strict=True):
        found = logprobs(model, row)
        for turn in (1, 2):
            drawn = torch.tensor(row.turn_ids[1:]) == turn
            loss = loss - weights[turn - 1].float() * found[drawn].sum() / len(ROWS)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        expected = [logprobs(model, row).tolist() for row in ROWS]
    scored = learner.score([row.token_ids for row in ROWS])
    for ours, theirs in zip(scored, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
