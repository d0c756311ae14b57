"""The scorer in chunks and in packed rows, against the plain one; no DeepSpeed here."""

from itertools import accumulate

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from score_ray.learner.token_logprobs import TokenScorer

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 2}  # fmt: skip
LENGTHS = torch.tensor([9, 1, 12, 2])
VOCABULARY = 49_152
MIB = 2**20


def model_of(kind: str = "llama", vocabulary: int = 50, attention: str = "sdpa"):
    torch.manual_seed(0)
    config, model = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "gemma2": (Gemma2Config, Gemma2ForCausalLM),
    }[kind]
    return model(config(vocab_size=vocabulary, attn_implementation=attention, **SIZES))


def rows_of(lengths: torch.Tensor, vocabulary: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random ids [B, T], and which of them are not padding."""
    make = torch.Generator().manual_seed(1)
    ids = torch.randint(vocabulary, (len(lengths), int(lengths.max())), generator=make)
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def scores_and_gradients(scorer, ids, attention, wanted) -> tuple[torch.Tensor, torch.Tensor]:
    scorer.zero_grad()
    scores = scorer(ids, attention, wanted, 0.7)
    (scores * torch.arange(scores.numel()).view_as(scores)).mean().backward()
    return scores.detach(), torch.cat([p.grad.flatten() for p in scorer.parameters()])


def compare(one: TokenScorer, other: TokenScorer, tolerance: float) -> None:
    ids, attention = rows_of(LENGTHS)
    for wanted in (attention, attention & (ids % 3 > 0)):
        found = scores_and_gradients(one, ids, attention, wanted)
        expected = scores_and_gradients(other, ids, attention, wanted)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_log_probs_are_those_of_the_models_own_forward_pass(kind):
    """The head is so large that Gemma 2's bound of 30 on its logits matters."""
    model = model_of(kind, attention="eager").eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(500)
    ids, attention = rows_of(torch.tensor([12, 12]))
    logits = model(input_ids=ids).logits / 0.7
    expected = logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    found = TokenScorer(model)(ids, attention, attention, 0.7)[:, 1:]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert logits.std() > 5


@pytest.mark.parametrize("positions", [1, 3, 7])
def test_chunks_change_neither_log_probs_nor_gradients(positions):
    model = model_of()
    compare(TokenScorer(model, positions * 4 * 50), TokenScorer(model), 1e-5)


def test_logits_that_fit_are_not_computed_twice():
    """The head then runs once, over all positions."""
    model, calls = model_of(), []
    model.lm_head.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    ids, attention = rows_of(LENGTHS)
    scored = int((LENGTHS - 1).sum())
    for num_bytes in (scored * 4 * 50, scored * 4 * 50 - 1):
        scores_and_gradients(TokenScorer(model, num_bytes), ids, attention, attention)
    assert calls[0] == scored
    assert sorted(calls[1:]) == [scored // 2] * 4  # two chunks, forward and again backward


def peak_bytes(work) -> int:
    """Return the most bytes that torch's allocator held beyond those it held before."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert events
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events))


def test_chunks_need_less_than_an_eighth_of_the_memory_with_a_vocabulary_of_49152():
    """512 positions have 96 MiB of logits at once, or 8 MiB in chunks."""
    model = model_of(vocabulary=VOCABULARY)
    ids, attention = rows_of(torch.tensor([257, 257]), VOCABULARY)
    plain, chunked = TokenScorer(model), TokenScorer(model, 8 * MIB)
    found = {}
    peaks = [
        peak_bytes(lambda s=s: found.update({s: scores_and_gradients(s, ids, attention, attention)}))
        for s in (plain, chunked)
    ]  # fmt: skip
    assert peaks[0] > 2 * 96 * MIB
    assert peaks[1] < peaks[0] / 8
    for ours, theirs in zip(found[chunked], found[plain], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_packed_rows_are_scored_as_padded_ones(kind, attention):
    model = model_of(kind, attention=attention)
    compare(TokenScorer(model, packing=True), TokenScorer(model), 1e-5)


def test_log_probs_of_a_bfloat16_model_are_float32():
    """Some of them cannot be written in bfloat16."""
    ids, attention = rows_of(LENGTHS)
    scores = TokenScorer(model_of().bfloat16())(ids, attention, attention, 0.7)
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())


def test_packed_rows_hold_no_padding():
    model, shapes = model_of(), []
    model.base_model.embed_tokens.register_forward_hook(lambda _, i, __: shapes.append(i[0].shape))
    ids, attention = rows_of(LENGTHS)
    TokenScorer(model, packing=True)(ids, attention, attention, 1.0)
    assert shapes == [(1, int(LENGTHS.sum()))]


def test_a_packed_row_does_not_see_the_rows_before_it():
    """Other tokens in the first row do not change a bit in the other rows."""
    scorer = TokenScorer(model_of(), packing=True)
    ids, attention = rows_of(LENGTHS)
    changed = ids.clone()
    changed[0] = (ids[0] + 1) % 50
    one, other = (scorer(x, attention, attention, 1.0) for x in (ids, changed))
    assert torch.equal(one[1:], other[1:])
    assert not torch.equal(one[0], other[0])
