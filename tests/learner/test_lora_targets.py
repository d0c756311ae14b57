import pytest
import torch
from transformers import LlamaForCausalLM

from score_ray.learner.lora_targets import target_kinds, target_layers
from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.types import ConfigError
from tests.support.tiny_model import make_model

LINEAR = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")


def llama(tied: bool = True) -> LlamaForCausalLM:
    with torch.device("meta"):
        return LlamaForCausalLM(model_config(character_tokenizer(), tied))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_by_default_every_linear_layer_but_the_head_gets_an_adapter(tied):
    model = llama(tied)
    found = target_layers(model, ())
    assert {name.rpartition(".")[2] for name in found} == set(LINEAR)
    assert len(found) == 7 * model.config.num_hidden_layers


def test_a_target_is_the_end_of_a_full_name_from_a_dot_on():
    assert target_layers(llama(), ("k_proj", "layers.1.mlp.up_proj")) == [
        "model.layers.0.self_attn.k_proj",
        "model.layers.1.self_attn.k_proj",
        "model.layers.1.mlp.up_proj",
    ]


@pytest.mark.parametrize("target", ["qproj", "lm_head", "proj", "embed_tokens", "mlp"])
def test_an_unknown_target_is_named_with_the_known_ones(target):
    with pytest.raises(ConfigError, match=f"learner.lora.targets: '{target}'.*k_proj, o_proj"):
        target_layers(llama(), ("q_proj", target))


def test_kinds_are_read_without_weights_and_each_comes_once(tmp_path):
    make_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert target_kinds(str(tmp_path), ()) == LINEAR
    assert target_kinds(str(tmp_path), ("v_proj", "q_proj")) == ("q_proj", "v_proj")
    with pytest.raises(ConfigError, match="learner.lora.targets: 'c_attn'"):
        target_kinds(str(tmp_path), ("c_attn",))
