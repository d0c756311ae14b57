"""The description of the weights matches those that vLLM's senders get, sharded or tied."""

import inspect
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaForCausalLM
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.weights.packing import describe, named_weights
from score_ray.weights.policy_source import PolicySource


def source_of(model: torch.nn.Module) -> PolicySource:
    return PolicySource(lambda: named_weights(model), lambda: describe(model))


def described_by_a_pass(source: PolicySource) -> list[ParamMeta]:
    return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in source]


@pytest.fixture
def sharded(monkeypatch):
    """A layer as ZeRO-3 leaves it: empty, and whole only within GatheredParameters."""
    layer = torch.nn.Linear(3, 2).bfloat16()
    whole = {}

    @contextmanager
    def gather(parameters):
        for each in parameters:
            each.data = whole[each.ds_id].clone()
        yield
        for each in parameters:
            each.data.zero_()  # the memory goes to others
            each.data = torch.empty(0, dtype=each.dtype)

    for number, parameter in enumerate(layer.parameters()):
        whole[number] = parameter.data
        parameter.ds_id, parameter.ds_shape = number, parameter.shape
        parameter.data = torch.empty(0, dtype=parameter.dtype)
    fake = SimpleNamespace(zero=SimpleNamespace(GatheredParameters=gather))
    monkeypatch.setitem(sys.modules, "deepspeed", fake)
    return layer, whole


def test_it_is_vllms_weight_source_and_changes_no_signature():
    assert not PolicySource.__abstractmethods__
    assert WeightSource.__abstractmethods__ == {"metadata", "__iter__"}
    for name in WeightSource.__abstractmethods__:
        ours, theirs = (inspect.signature(getattr(c, name)) for c in (PolicySource, WeightSource))
        assert list(ours.parameters) == list(theirs.parameters)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_models_weights_are_described_in_the_order_they_come_in(tied):
    model = LlamaForCausalLM(model_config(character_tokenizer(), tied))
    source = source_of(model)
    assert source.metadata() == described_by_a_pass(source)
    names = [meta.name for meta in source.metadata()]
    assert ("lm_head.weight" in names) is not tied
    assert source.largest() == max(p.nbytes for p in model.parameters())


def test_sharded_weights_are_described_whole_without_gathering_them(sharded):
    layer, _ = sharded
    source = source_of(layer)
    expected = [
        ParamMeta("weight", torch.bfloat16, (2, 3)),
        ParamMeta("bias", torch.bfloat16, (2,)),
    ]
    assert source.metadata() == expected
    assert layer.weight.numel() == 0
    assert described_by_a_pass(source) == expected


def test_a_gathered_weight_outlives_its_gathering(sharded):
    layer, whole = sharded
    sent = dict(source_of(layer))
    assert torch.equal(sent["weight"], whole[0])
    assert torch.equal(sent["bias"], whole[1])


def test_a_later_update_does_not_reach_what_was_handed_out():
    layer = torch.nn.Linear(2, 2)
    sent = dict(source_of(layer))
    with torch.no_grad():
        layer.weight += 1
    assert torch.equal(sent["weight"] + 1, layer.weight)


def test_every_pass_is_a_fresh_one():
    layer = torch.nn.Linear(2, 2)
    source = source_of(layer)
    first = dict(source)
    with torch.no_grad():
        layer.weight += 1
    assert torch.equal(dict(source)["weight"], first["weight"] + 1)


def test_without_a_description_a_first_pass_finds_out_and_the_next_ones_know():
    layer, passes = torch.nn.Linear(2, 2), []

    def weights():
        passes.append(1)
        return named_weights(layer)

    source = PolicySource(weights)
    assert source.metadata() == source_of(layer).metadata()
    source.metadata()
    assert len(passes) == 1
