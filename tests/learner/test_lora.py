"""The adapter in torch and peft alone; with DeepSpeed in test_lora_deepspeed.py."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from score_ray.config.schema import AdapterConfig
from score_ray.learner.lora import (
    adapter_weights,
    describe,
    load_trainable,
    merged_weights,
    save_adapter,
    trainable,
    with_adapter,
    without_adapter,
)
from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.weights.packing import named_weights

IDS = torch.tensor([[1, 2, 10, 3, 4, 11]])


class Pair(torch.nn.Module):
    """One 2x2 layer, its bias and an output head."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2, dtype=dtype)
        self.head = torch.nn.Linear(2, 2, bias=False, dtype=dtype)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x))


def lora(rank: int = 2, alpha: float = 6.0, targets: tuple[str, ...] = ()) -> AdapterConfig:
    return AdapterConfig(rank=rank, alpha=alpha, targets=targets)


def llama(dtype: torch.dtype = torch.float32, tied: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(model_config(character_tokenizer(), tied)).to(dtype)


def trained(model: torch.nn.Module) -> torch.nn.Module:
    """Change the adapter's weights, so that none are zero any more."""
    torch.manual_seed(1)
    for parameter in trainable(model):
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def set_pair(model: torch.nn.Module) -> None:
    """Set W = [[1, 2], [3, 4]], A = [[1, 0]], B = [[2], [-1]]."""
    layer = model.layer
    layer.base_layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).to(
        layer.base_layer.weight.dtype
    )
    layer.lora_A["default"].weight.data = torch.tensor([[1.0, 0.0]])
    layer.lora_B["default"].weight.data = torch.tensor([[2.0], [-1.0]])


def test_merged_weights_of_a_2x2_layer_by_hand():
    """alpha / rank = 3; 3 * B A = [[6, 0], [-3, 0]]."""
    model = with_adapter(Pair(), lora(rank=1, alpha=3.0))
    set_pair(model)
    merged = dict(merged_weights(model))
    assert list(merged) == ["layer.weight", "layer.bias", "head.weight"]
    assert merged["layer.weight"].tolist() == [[7.0, 2.0], [0.0, 4.0]]
    assert torch.equal(merged["layer.bias"], model.layer.base_layer.bias)
    assert torch.equal(merged["head.weight"], model.head.weight)


def test_adapter_weights_carry_the_scale_in_b_and_the_names_of_an_adapter_file():
    model = with_adapter(Pair(), lora(rank=1, alpha=3.0))
    set_pair(model)
    found = {name: tensor.tolist() for name, tensor in adapter_weights(model)}
    prefix = "base_model.model.layer."
    assert found == {
        f"{prefix}lora_A.weight": [[1.0, 0.0]],
        f"{prefix}lora_B.weight": [[6.0], [-3.0]],
    }


def test_merging_into_bfloat16_rounds_the_sum_alone():
    """The number after 1 is 1 + 2 ** -7.

    A sum a little above the middle rounds up. If the adapter's part were rounded first, it would
    be exactly in the middle, and round to 1.
    """
    model = with_adapter(Pair(torch.bfloat16), lora(rank=1, alpha=3.0))
    set_pair(model)
    for part, expected in ((2**-8 - 2**-18, 1.0), (2**-8 + 2**-18, 1 + 2**-7)):
        model.layer.lora_B["default"].weight.data = torch.tensor([[part / 3], [0.0]])
        weight = dict(merged_weights(model))["layer.weight"]
        assert weight.dtype == torch.bfloat16
        assert float(weight[0, 0]) == expected


def test_named_targets_are_the_only_layers_with_an_adapter():
    model = with_adapter(llama(), lora(targets=("q_proj", "layers.1.mlp.up_proj")))
    layers = {n.removesuffix(".lora_A.weight") for n, _ in adapter_weights(model) if "A" in n}
    assert layers == {
        "base_model.model.model.layers.0.self_attn.q_proj",
        "base_model.model.model.layers.1.self_attn.q_proj",
        "base_model.model.model.layers.1.mlp.up_proj",
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_policy_starts_as_the_base_and_without_its_adapter_remains_the_base(dtype):
    base = llama(dtype)(IDS).logits
    model = with_adapter(llama(dtype), lora())
    assert torch.equal(model(IDS).logits, base)
    trained(model)
    assert not torch.equal(model(IDS).logits, base)
    with without_adapter(model):
        assert torch.equal(model(IDS).logits, base)
    assert not torch.equal(model(IDS).logits, base)


def test_the_adapter_is_back_after_an_error_and_can_still_be_trained():
    model = trained(with_adapter(llama(), lora()))
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    policy = model(IDS).logits
    with pytest.raises(KeyError), without_adapter(model):
        raise KeyError
    assert torch.equal(model(IDS).logits, policy)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == names


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_only_the_adapter_has_gradients_and_it_is_float32(dtype):
    model = trained(with_adapter(llama(dtype), lora()))
    model(IDS).logits.float().logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        adapter = ".lora_" in name
        assert (parameter.grad is not None) == adapter, name
        assert parameter.dtype == (torch.float32 if adapter else dtype), name
    assert all(p.grad.dtype == torch.float32 and p.grad.norm() > 0 for p in trainable(model))


def test_the_first_weights_are_the_same_in_every_process_and_other_random_numbers_stay():
    models = []
    for seed in (3, 4):
        base = llama()
        torch.manual_seed(seed)
        expected = torch.rand(1)
        torch.manual_seed(seed)
        models.append(with_adapter(base, lora()))
        assert torch.equal(torch.rand(1), expected)
    first, second = (dict(adapter_weights(model)) for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert sum(float(tensor.abs().sum()) for n, tensor in first.items() if "lora_A" in n) > 0


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_merged_weights_have_the_base_models_names_and_give_the_policys_log_probs(tied):
    base = llama(tied=tied)
    names = [name for name, _ in named_weights(base)]
    model = trained(with_adapter(llama(tied=tied), lora()))
    merged = dict(merged_weights(model))
    assert list(merged) == names
    assert list(describe(model)) == [(n, t.dtype, tuple(t.shape)) for n, t in merged.items()]
    base.load_state_dict(merged, strict=not tied)
    torch.testing.assert_close(
        base(IDS).logits.log_softmax(-1), model(IDS).logits.log_softmax(-1), atol=1e-5, rtol=0
    )


def test_peft_makes_the_policy_from_the_base_and_a_saved_adapter(tmp_path):
    llama().save_pretrained(tmp_path / "base")
    model = trained(with_adapter(llama(), lora()))
    save_adapter(model, lora(), str(tmp_path / "base"), tmp_path / "adapter", write=True)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    again = PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(again(IDS).logits, model(IDS).logits, atol=1e-6, rtol=0)
    config = again.peft_config["default"]
    assert (config.r, config.lora_alpha) == (2, 6.0)
    assert config.base_model_name_or_path == str(tmp_path / "base")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_merged_model_is_saved_as_a_plain_one(tied, dtype, tmp_path):
    model = trained(with_adapter(llama(dtype, tied), lora()))
    merged = {name: tensor.clone() for name, tensor in merged_weights(model)}
    model.save_pretrained(tmp_path, state_dict=dict(merged))
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is LlamaForCausalLM
    weights = dict(named_weights(again))
    assert list(weights) == list(merged)
    assert all(torch.equal(weights[name], tensor) for name, tensor in merged.items())


def test_a_rank_that_does_not_write_leaves_no_folder(tmp_path):
    model = with_adapter(Pair(), lora())
    save_adapter(model, lora(), "base", tmp_path / "adapter", write=False)
    assert list(Path(tmp_path).iterdir()) == []


def test_reading_a_checkpoint_of_another_adapter_names_what_is_missing():
    state = {n: p for n, p in with_adapter(llama(), lora()).named_parameters()
             if ".lora_" in n}  # fmt: skip
    same = trained(with_adapter(llama(), lora()))
    load_trainable(state, same)
    assert all(torch.equal(p, state[n]) for n, p in same.named_parameters() if n in state)
    fewer = with_adapter(llama(), lora(targets=("q_proj",)))
    with pytest.raises(RuntimeError, match="learner.lora"):
        load_trainable(state, fewer)
    del state["model.layers.0.self_attn.q_proj.lora_A.default.weight"]
    with pytest.raises(RuntimeError, match="lacks.*layers.0.self_attn.q_proj.lora_A"):
        load_trainable(state, same)


def test_checkpointed_activations_give_the_same_gradients():
    found = []
    for checkpointed in (False, True):
        model = trained(with_adapter(llama(), lora())).train()
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(IDS, use_cache=False).logits.logsumexp(-1).sum().backward()
        found.append([p.grad for p in trainable(model)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
