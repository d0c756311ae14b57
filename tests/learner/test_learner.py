"""A real DeepSpeed engine of one rank, in this process, against plain torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from score_ray.algorithm.batch import Row
from score_ray.learner.setup import LearnerSetup
from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.weights.packing import unpack
from tests.support.setups import RATE, changed, learner_setup
from tests.support.single_rank import one_rank

pytestmark = pytest.mark.ray
ROWS = [
    Row((1, 2, 10, 3, 4, 11), (0, 0, 0, 1, 0, 2), (0.0,) * 6),
    Row((5, 5, 10, 3, 1), (0, 0, 1, 0, 2), (0.0,) * 5),
]
TEMPERATURE, WARMUP = 0.5, 3
ALL = [[0, 1]]


def setup_of(folder: str) -> LearnerSetup:
    return learner_setup(
        folder, temperature=TEMPERATURE, warmup_iterations=WARMUP, max_grad_norm=0.5
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(model_config(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def learner(folder):
    from score_ray.learner.learner import Learner

    with one_rank():
        yield Learner(setup_of(folder), 0, 1)


def weights_of(learner) -> dict[str, torch.Tensor]:
    return {n: t for part in learner.packed_weights(2**16) for n, t in unpack(*part)}


def logprobs(model, row: Row, temperature: float) -> torch.Tensor:
    """Return log-probs [tokens - 1] of every token but the first."""
    ids = torch.tensor(row.token_ids)
    scaled = model(ids[None]).logits[0, :-1] / temperature
    return scaled.log_softmax(-1).gather(1, ids[1:, None])[:, 0]


def test_sampled_tokens_are_scored_at_the_sampling_temperature_and_the_probe_at_1(learner, folder):
    model = LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        tempered = [
            [logprobs(model, row, TEMPERATURE)[torch.tensor(row.turn_ids[1:]) == turn].sum().item()
             for turn in (1, 2)]
            for row in ROWS
        ]  # fmt: skip
        plain = [logprobs(model, row, 1.0).tolist() for row in ROWS]
    found = learner.reference_sums(ROWS, ALL, 2)
    np.testing.assert_allclose([found[0], found[1]], tempered, atol=1e-5)
    scored = learner.score([row.token_ids for row in ROWS])
    for ours, theirs in zip(scored, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_an_update_warms_up_clips_and_leaves_the_reference_alone(learner):
    before = learner.reference_sums(ROWS, ALL, 2)
    advantages = np.array([[50.0, -100.0], [25.0, 200.0]])
    weights = weights_of(learner)
    held = {name: tensor.clone() for name, tensor in weights.items()}
    metrics = learner.update(ROWS, advantages, ALL, iteration=0)
    assert metrics["learning_rate"] == (RATE / (WARMUP + 1), 1.0)
    assert metrics["grad_norm"][0] > 0.5
    # AdamW's first step moves every weight that has a gradient by the learning rate.
    moved = weights_of(learner)
    largest = max(float((moved[n] - held[n]).abs().max()) for n in held)
    assert largest == pytest.approx(RATE / (WARMUP + 1), rel=1e-3)
    assert learner.reference_sums(ROWS, ALL, 2) == before


def test_neither_micro_batches_nor_empty_ones_change_an_update(learner, tmp_path):
    learner.save(tmp_path / "state")
    advantages = np.array([[0.5, -1.0], [0.25, 2.0]])
    results = []
    for shards in ([[0, 1]], [[0], [1]], [[1], [0], []]):
        learner.restore(tmp_path / "state")
        metrics = learner.update(ROWS, advantages, shards, iteration=9)
        results.append((metrics["loss"], weights_of(learner)))
    for loss, weights in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-5)
        for name, tensor in weights.items():
            torch.testing.assert_close(tensor, results[0][1][name], atol=1e-5, rtol=0)


def test_tokens_that_were_sampled_in_another_context_are_trained_on_but_not_compared(learner):
    """Four tokens are sampled; the first row's second attempt was sampled elsewhere."""
    strange = replace(ROWS[0], sampled_logprobs=(0.0,) * 5 + (float("nan"),))
    weights = np.array([[0.0, 1.0], [0.0, 0.0]])
    metrics = learner.update([strange, ROWS[1]], weights, ALL, iteration=0)
    gap, tokens = metrics["mismatch_mean_abs"]
    assert tokens == metrics["mismatch_kl"][1] == 3.0
    assert 0 < gap / 3 <= metrics["mismatch_max_abs"]
    assert metrics["grad_norm"][0] > 0


def test_an_exported_model_loads_with_the_weights_that_are_broadcast(learner, tmp_path):
    learner.export(tmp_path)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    for name, tensor in weights_of(learner).items():
        assert torch.equal(exported[name], tensor)


def test_importance_weights_are_applied_if_a_bound_is_set(folder, learner):
    """The sampler gave every token e times the learner's probability, so each counts 1/e."""
    from score_ray.learner.learner import Learner

    setup = changed(setup_of(folder), temperature=1.0)
    plain = Learner(setup, 0, 1)
    weighed = Learner(changed(setup, max_importance=2.0), 0, 1)
    scored = plain.score([row.token_ids for row in ROWS])
    stale = [
        replace(row, sampled_logprobs=(0.0, *(found + 1 for found in scores)))
        for row, scores in zip(ROWS, scored, strict=True)
    ]
    weights = np.array([[0.5, -1.0], [0.25, 2.0]])
    one, other = (learner.update(stale, weights, ALL, 9) for learner in (plain, weighed))
    assert other["loss"][0] == pytest.approx(one["loss"][0] / np.e, rel=1e-4)
    assert other["grad_norm"][0] == pytest.approx(one["grad_norm"][0] / np.e, rel=1e-4)
    assert other["truncated"] == (0.0, 4.0)
    assert "truncated" not in one
    assert other["mismatch_kl"][0] / 4 == pytest.approx(1 / np.e, rel=1e-4)
