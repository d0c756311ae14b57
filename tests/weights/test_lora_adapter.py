"""A real engine on a CPU serves the adapter it was sent last, and no older one's cache."""

import os

import pytest
import torch
from transformers import LlamaForCausalLM

from score_ray.config.schema import AdapterConfig
from score_ray.learner.lora import adapter_weights, trainable, with_adapter
from score_ray.learner.lora_targets import target_kinds
from score_ray.weights.packing import parts
from tests.support.tiny_model import make_model

pytestmark = pytest.mark.ray
# The second row fills a block of the prefix cache, which a later request could use.
ROWS = [(1, 2, 10, 3, 4, 11), (5, 5, 10, 3, 1, 11, 4, 4, 13, 12) * 6]
LORA = AdapterConfig(rank=2, alpha=6.0)
PART_BYTES = 2**12  # several parts


def scores(model) -> list[list[float]]:
    scored = []
    for row in ROWS:
        logprobs = model(torch.tensor([row])).logits[0].log_softmax(-1)
        scored.append(logprobs[:-1].gather(1, torch.tensor(row[1:])[:, None])[:, 0].tolist())
    return scored


def moved(model, seed: int):
    torch.manual_seed(seed)
    for parameter in trainable(model):
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


class Engine:
    """vLLM with an adapter, started as a rollout actor's engine is."""

    def __init__(self, folder: str, rank: int) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
        from vllm import LLM, SamplingParams

        from score_ray.weights.lora_adapter import Adapter, adapter_options

        self._params = SamplingParams
        self.llm = LLM(
            model=folder,
            skip_tokenizer_init=True,
            dtype="float32",
            max_model_len=64,
            enable_prefix_caching=True,
            distributed_executor_backend="uni",
            enforce_eager=True,
            kv_cache_memory_bytes=2**27,
            block_size=32,
            seed=0,
            **adapter_options(rank, target_kinds(folder, ())),
        )
        self.adapter = Adapter(self.llm.llm_engine)

    def score(self) -> list[list[float]]:
        """Return the log-probs of all tokens but the first, which do not use the prefix cache."""
        params = self._params(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
        prompts = [{"prompt_token_ids": list(row)} for row in ROWS]
        outputs = self.llm.generate(
            prompts, params, use_tqdm=False, lora_request=self.adapter.request
        )
        return [
            [at[t].logprob for at, t in zip(o.prompt_logprobs[1:], row[1:], strict=True)]
            for o, row in zip(outputs, ROWS, strict=True)
        ]

    def draw(self, row: tuple[int, ...]) -> tuple[int, float, int]:
        """Return the likeliest next token, its log-prob, and the number of cached prompt tokens."""
        params = self._params(max_tokens=1, temperature=0, logprobs=0, detokenize=False)
        self.llm.llm_engine.add_request(
            "a", {"prompt_token_ids": list(row)}, params, lora_request=self.adapter.request
        )
        while not (ended := self.llm.llm_engine.step()):
            pass
        (token,) = ended[0].outputs[0].token_ids
        logprob = ended[0].outputs[0].logprobs[0][token].logprob
        return token, logprob, ended[0].num_cached_tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(make_model(tmp_path_factory.mktemp("model"), tied=True))


@pytest.fixture(scope="module")
def engine(folder):
    return Engine(folder, LORA.rank)


@pytest.fixture
def model(folder):
    return moved(with_adapter(LlamaForCausalLM.from_pretrained(folder), LORA), seed=1)


@torch.no_grad()
def test_the_engine_serves_the_policy_and_follows_its_updates(engine, model, folder):
    base = scores(LlamaForCausalLM.from_pretrained(folder))
    before = None
    for seed in (2, 3):
        engine.adapter.load(parts(adapter_weights(moved(model, seed)), PART_BYTES))
        expected = scores(model)
        torch.testing.assert_close(as_row(engine.score()), as_row(expected), atol=1e-4, rtol=0)
        for other in filter(None, (base, before)):
            assert (as_row(other) - as_row(expected)).abs().mean() > 0.01
        before = expected
    assert len(engine.llm.llm_engine.list_loras()) == 1


@torch.no_grad()
def test_the_prefix_cache_serves_no_keys_and_values_of_an_older_adapter(engine, model):
    """The cache is not reset here: the new adapter's name is enough to keep old blocks out."""
    row = ROWS[1]
    engine.adapter.load(parts(adapter_weights(model), PART_BYTES))
    first = engine.draw(row)
    assert engine.draw(row)[2] >= 32, "the cache is not used"
    engine.adapter.load(parts(adapter_weights(moved(model, 4)), PART_BYTES))
    token, logprob, cached = engine.draw(row)
    assert cached == 0
    best = model(torch.tensor([row])).logits[0, -1].log_softmax(-1)
    assert token == int(best.argmax())
    assert logprob == pytest.approx(float(best[token]), abs=1e-4)
    assert (token, logprob) != first[:2]


@torch.no_grad()
def test_nothing_of_an_adapter_stays_on_disk(engine, model, tmp_path, monkeypatch):
    monkeypatch.setattr("score_ray.weights.lora_adapter.SHARED_MEMORY", str(tmp_path))
    engine.adapter.load(parts(adapter_weights(model), PART_BYTES))
    assert list(tmp_path.iterdir()) == []
    assert engine.adapter.request.lora_path.startswith(str(tmp_path))
    torch.testing.assert_close(as_row(engine.score()), as_row(scores(model)), atol=1e-4, rtol=0)


def test_a_rank_is_padded_to_one_that_vllm_has():
    from score_ray.weights.lora_adapter import adapter_options

    assert adapter_options(0, ()) == {}
    padded = [adapter_options(rank, ("q_proj",))["max_lora_rank"] for rank in (1, 2, 8, 9, 512)]
    assert padded == [1, 8, 8, 16, 512]


def as_row(rows) -> torch.Tensor:
    return torch.tensor([value for row in rows for value in row])
