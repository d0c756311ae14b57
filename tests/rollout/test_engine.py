"""A real engine: its log-probs follow the weights it is sent, and stale weights are caught."""

from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from score_ray.rollout.engine import step_tokens
from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.types import Request
from score_ray.weights.packing import named_weights, parts
from score_ray.weights.probe import WeightMismatch, check
from tests.support.setups import engine_setup

pytestmark = pytest.mark.ray
ROWS = [(1, 2, 10, 3, 4, 11), (5, 5, 10, 3, 1, 11, 4, 4, 13, 12, 8, 6, 13)]


def scores(model: Any) -> list[list[float]]:
    found = []
    for row in ROWS:
        logprobs = model(torch.tensor([row])).logits[0].float().log_softmax(-1)
        found.append(logprobs[:-1].gather(1, torch.tensor(row[1:])[:, None])[:, 0].tolist())
    return found


@pytest.mark.parametrize(
    ("max_running", "max_length", "tokens"),
    [(256, 4608, 16384), (256, 32768, 32768), (64, 32, 2048), (1, 128, 128)],
)
def test_a_step_has_room_for_any_prompt_and_no_more_than_all_requests_fill(
    max_running, max_length, tokens
):
    setup = engine_setup(max_length=max_length, max_running=max_running)
    assert step_tokens(setup) == tokens


def model_of(kind: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    torch.manual_seed(0)
    own = model_config(tokenizer, tied=kind != "untied")
    if kind != "gemma2":
        return LlamaForCausalLM(own)
    # It has no separate output head, and caps so low that attention scores and logits change.
    like = {k: v for k, v in own.to_dict().items() if k not in ("model_type", "architectures")}
    caps = {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0}
    return Gemma2ForCausalLM(
        Gemma2Config(**{**like, **caps, "sliding_window": 64, "attn_implementation": "eager"})
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", ["untied", "tied", "gemma2"])
def test_an_engine_serves_the_weights_it_was_sent_and_stale_ones_are_caught(kind, tmp_path):
    from score_ray.rollout.engine import VllmEngine

    tokenizer = character_tokenizer()
    model = model_of(kind, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = VllmEngine(engine_setup(str(tmp_path)), [13])
    before = scores(model)
    assert check(engine.score(ROWS), before, None, 1e-3, "engine") < 1e-5

    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 1e-4)
    with pytest.raises(WeightMismatch, match="did not take effect"):
        check(engine.score(ROWS), scores(model), before, 1.0, "engine")
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    with pytest.raises(WeightMismatch, match="differ from the learner's"):
        check(engine.score(ROWS), scores(model), before, 1e-3, "engine")

    engine.load_weights(parts(named_weights(model), 2**16), version=1)
    assert check(engine.score(ROWS), scores(model), before, 1e-3, "engine") < 1e-5
    assert engine.version == 1

    request = Request("a", ROWS[0], 4, temperature=0.5, seed=7)
    drawn = []
    for _ in range(3):
        engine.add(request)
        while not (ended := engine.step()):
            pass
        drawn.append(ended[0])
        for _ in range(2):
            engine.sleep()  # the next call that needs the engine wakes it
    assert drawn[0].token_ids == drawn[1].token_ids == drawn[2].token_ids
    engine.load_weights(parts(named_weights(model), 2**16), version=2)
    assert check(engine.score(ROWS), scores(model), before, 1e-3, "engine") < 1e-5
    # Log-probs are those of the distribution that was drawn from, temperature included.
    whole = torch.tensor(ROWS[0] + drawn[0].token_ids)
    logprobs = (model(whole[None]).logits[0, :-1] / 0.5).log_softmax(-1)
    expected = logprobs.gather(1, whole[1:, None])[len(ROWS[0]) - 1 :, 0]
    torch.testing.assert_close(torch.tensor(drawn[0].logprobs), expected, atol=1e-5, rtol=0)
