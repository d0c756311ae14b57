"""Against numbers counted by hand, and against what autograd keeps of a real, small model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from score_ray.config.loading import load
from score_ray.planning import memory
from score_ray.planning.gpus import Gpu
from score_ray.planning.memory import GIB, activations, engine_demand, learner_demand
from score_ray.planning.model_shape import ModelShape, shape_of

LINEARS = (("q_proj", 100), ("up_proj", 300))
SHAPE = ModelShape(2, 8, 16, 2, 1, 4, 32, True, 2, 1_000_000, LINEARS)
SMALL = ["model.max_length=100", "learner.tokens_per_micro_batch=1000", "learner.num_ranks=4"]
BF16 = "model.dtype=bfloat16"


def config(*overrides: str):
    return load(Path("configs/arithmetic.yaml"), [*SMALL, *overrides])


def items(*overrides: str, shape: ModelShape = SHAPE) -> dict[str, int]:
    return dict(learner_demand(config(*overrides), shape).items)


STATES = ("weights", "reference", "gradients", "masters, Adam")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # A master and two moments of 4 bytes each; the gradient's sum of 4, and 2 of the newest.
        ((BF16, "learner.num_ranks=1"), (2, 2, 6, 12)),
        ((BF16,), (2, 2, 6, 3)),  # 4 ranks; stage 1 takes the place of 0
        ((BF16, "learner.zero_stage=1"), (2, 2, 6, 3)),
        ((BF16, "learner.zero_stage=2"), (2, 2, 1, 3)),
        ((BF16, "learner.zero_stage=3"), (0.5, 0.5, 1, 3)),
        ((BF16, "learner.zero_stage=1", "learner.offload_optimizer=true"), (2, 2, 7, 0)),
        ((BF16, "learner.zero_stage=2", "learner.offload_optimizer=true"), (2, 2, 1, 0)),
        ((BF16, "learner.zero_stage=3", "learner.offload_optimizer=true"), (0.5, 0.5, 0, 0)),
        (("learner.zero_stage=2", "learner.offload_optimizer=true"), (4, 4, 0, 0)),
        ((), (4, 4, 4, 8)),  # float32: its own master
        (("learner.zero_stage=1",), (4, 4, 4, 3)),
        (("learner.zero_stage=3",), (1, 1, 1, 3)),
    ],
)
def test_bytes_per_weight_of_a_ranks_states(overrides, expected):
    found = items(*overrides)
    assert [found[name] / SHAPE.parameters for name in STATES] == list(expected)


def test_states_match_the_figure_of_the_zero_paper_except_for_gradients():
    """Figure 1: 7.5 billion weights on 64 ranks, 2 + 12 bytes a weight besides the gradient."""
    large = replace(SHAPE, parameters=7_500_000_000)
    ranks = ("learner.num_ranks=64", BF16)
    for stage, gigabytes in ((1, 31.4 - 15.0), (2, 16.6 - 0.2), (3, 1.9 - 0.2)):
        found = items(*ranks, f"learner.zero_stage={stage}", shape=large)
        assert (found["weights"] + found["masters, Adam"]) / 1e9 == pytest.approx(
            gigabytes, abs=0.1
        )


def test_with_adapters_nothing_else_has_states_and_no_reference_is_needed():
    """Rank 10 on maps of 100 and 300 numbers: 4,000 weights in float32."""
    found = items(BF16, "learner.lora.rank=10")
    assert found["weights"] == 2_000_000 + 4 * 4000
    assert found["reference"] == 0
    assert found["gradients"] == 6 * 4000
    assert found["masters, Adam"] == 12 * 4000 // 4


def test_an_offloaded_optimizer_is_in_the_nodes_memory():
    offloaded = (BF16, "learner.zero_stage=2", "learner.offload_optimizer=true")
    assert learner_demand(config(*offloaded), SHAPE).host == (12 + 4) * 1_000_000 // 4
    assert learner_demand(config(BF16), SHAPE).host == 0


def test_sides_that_share_gpus_sleep_in_the_nodes_memory():
    """2 + 2 bytes of weights, 6 of gradients and 3 of states; an engine's 2 of weights."""
    own = config(BF16, "rollout.share_gpus=true", "rollout.num_actors=4")
    assert learner_demand(own, SHAPE).host == 13_000_000
    assert engine_demand(own, SHAPE).host == 2_000_000


@pytest.mark.parametrize(
    ("overrides", "per_token"),
    [
        # A normalisation 8 * (4 + 2 + 2), two a layer; 4 * 2 * (8 + 16) bytes of the rest: 320.
        # The mask takes 100 * (1 + 2) a token.
        ((BF16,), 2 * 320 + 64 + 300),
        ((BF16, "model.attention=flash_attention_2"), 2 * 320 + 64),
        ((BF16, "model.attention=eager"), 2 * (320 + 2 * 100 * 6) + 64 + 300),
        ((BF16, "learner.packing=true"), 2 * 320 + 64 + 3000),
        ((BF16, "learner.gradient_checkpointing=true"), 2 * 8 * 2 + 320 + 64 + 300),
        # Float32 copies of 4 * (6 * 8 + 16) in place of 2 * (3 * 8 + 16) bytes.
        ((BF16, "learner.lora.rank=4"), 2 * (320 + 256 - 80) + 64 + 300),
        # 8 * 12 a normalisation, 4 * 4 * (8 + 16) of the rest: 576.
        ((), 2 * 576 + 96 + 500),
    ],
)
def test_activations_of_a_micro_batch(overrides, per_token):
    assert activations(config(*overrides), SHAPE) == 1000 * per_token


def test_a_row_longer_than_the_budget_is_a_micro_batch_of_its_own():
    short = ("learner.tokens_per_micro_batch=10", "model.attention=flash_attention_2", BF16)
    assert activations(config(*short), SHAPE) == 100 * (2 * 320 + 64)


def kept_by_autograd(kind: str, dtype: torch.dtype, layers: int, checkpointing: bool) -> float:
    """Return the bytes per token that a forward pass of a small real model keeps for its backward pass."""
    shape = (2, 64)
    kernels = {"gemma2": "eager", "llama": "sdpa"}[kind]
    model: Any = AutoModelForCausalLM.from_config(
        small(kind, layers), dtype=dtype, attn_implementation=kernels
    ).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ids = torch.ones(shape, dtype=torch.long)
        padded = ids.bool().index_fill(1, torch.tensor([63]), False)
        model.base_model(input_ids=ids, attention_mask=padded, use_cache=False)
    return sum(kept.values()) / (shape[0] * shape[1])


def small(kind: str, layers: int):
    return AutoConfig.for_model(
        kind,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        vocab_size=64,
    )


@pytest.mark.parametrize(("kind", "near"), [("llama", 0.03), ("gemma2", 0.1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_layers_activations_are_what_autograd_keeps_of_it(kind, near, dtype, checkpointing):
    chosen = [f"model.dtype={dtype}", "model.max_length=64"]
    own = config(*chosen, f"learner.gradient_checkpointing={checkpointing}".lower())
    computed = [activations(own, shape_of(small(kind, n))) / 1000 for n in (2, 4)]
    real = [kept_by_autograd(kind, getattr(torch, dtype), n, checkpointing) for n in (2, 4)]
    assert computed[1] - computed[0] == pytest.approx(real[1] - real[0], rel=near)


def test_the_larger_of_a_backward_pass_and_a_step_is_counted():
    """A step: 4 bytes a weight to add up gradients, and 8 of a rank's quarter of the weights."""
    tiny = (BF16, "learner.logits_mb=0.001", "model.attention=flash_attention_2")
    assert items(*tiny)["optimizer step"] == 4_000_000 + 8 * 250_000
    assert "activations" not in items(*tiny)
    assert items(BF16)["logits"] == 4 * 512 * 2**20
    assert "optimizer step" not in items(BF16)


def test_the_buffers_of_zero_depend_on_its_stage():
    """A buffer has half a billion numbers of 2 bytes, and one of 4 bytes per weight; or 4 each."""
    buffers = ("gradient buffer", "buckets", "gathered")
    expected = {1: (0, 0, 0), 2: (0, 1_004_000_000, 0), 3: (2_000_000_000, 0, 2_000_000)}
    for stage, sizes in expected.items():
        found = items(BF16, f"learner.zero_stage={stage}")
        assert tuple(found[name] for name in buffers) == sizes


def test_zero_3_has_a_whole_model_on_the_gpu_while_it_loads():
    """2 bytes a weight of the policy, 2 / 64 of the reference, and the reserve."""
    large = replace(SHAPE, parameters=70_000_000_000)
    own = config(BF16, "learner.zero_stage=3", "learner.num_ranks=64")
    found = learner_demand(own, large)
    assert found.total == 140_000_000_000 + 140_000_000_000 // 64 + memory.RESERVE
    assert "loading" not in items(BF16, "learner.zero_stage=3")


def test_an_engines_gpu_has_its_part_of_the_weights_and_of_the_heads():
    """A step: 16,384 tokens of 4 * 8 + (16 + 8) numbers, 10 requests of 32 logits, four times."""
    own = config(BF16, "rollout.tensor_parallel=2", "rollout.max_running=10")
    found = dict(engine_demand(own, SHAPE).items)
    assert found["weights"] == 1_000_000
    assert found["work of a step"] == 16384 * 56 * 2 + 4 * 10 * 32 * 4
    assert memory.cache_per_token(own, replace(SHAPE, kv_heads=4)) == 2 * 2 * 2 * 4 * 2
    assert memory.cache_per_token(own, SHAPE) == 2 * 2 * 1 * 4 * 2  # a head is not divided


def test_the_cache_is_what_an_engines_share_leaves():
    own = config(BF16, "rollout.gpu_memory=0.5", "rollout.max_running=10")
    gpu = Gpu("small", 8 * GIB, 1e12, 1e11)
    found = memory.plan_memory(own, SHAPE, gpu)
    assert found.share == 4 * GIB
    assert found.cache_tokens == (4 * GIB - found.engine.total) // 32


def test_between_updates_a_rank_holds_all_items_but_transient_ones():
    gpu = Gpu("small", 8 * GIB, 1e12, 1e11)
    assert memory.plan_memory(config(BF16), SHAPE, gpu).held == 13_000_000 + memory.RESERVE
