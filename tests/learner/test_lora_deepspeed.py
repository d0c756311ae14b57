"""The adapter in a real DeepSpeed engine of one rank, in this process, against plain torch."""

import os
import socket

import pytest
import torch
from transformers import LlamaForCausalLM

from score_ray.config.schema import AdapterConfig
from score_ray.learner.lora import (
    adapter_weights,
    describe,
    load_trainable,
    merged_weights,
    trainable,
    with_adapter,
    without_adapter,
)
from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.weights.packing import named_weights

pytestmark = pytest.mark.ray
IDS = torch.tensor([[1, 2, 10, 3, 4, 11], [5, 5, 10, 3, 1, 11]])
RATE = 0.01
LORA = AdapterConfig(rank=2, alpha=6.0)
CASES = [(0, torch.float32), (2, torch.float32), (3, torch.float32),
         (0, torch.bfloat16), (2, torch.bfloat16), (3, torch.bfloat16)]  # fmt: skip
of_every_kind = pytest.mark.parametrize(("stage", "dtype"), CASES, ids=str)


@pytest.fixture(scope="module", autouse=True)
def deepspeed():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
            patch.setenv(name, value)
        listener = socket.create_server(("127.0.0.1", 0))
        host, port = listener.getsockname()
        store = torch.distributed.TCPStore(
            host, port, 1, is_master=True, master_listen_fd=listener.detach()
        )
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        deepspeed.init_distributed(dist_backend="gloo")
        yield deepspeed
        deepspeed.comm.destroy_process_group()


def policy(dtype: torch.dtype) -> LlamaForCausalLM:
    torch.manual_seed(0)
    base = LlamaForCausalLM(model_config(character_tokenizer())).to(dtype)
    return with_adapter(base, LORA)


def engine_of(deepspeed, stage: int, dtype: torch.dtype):
    """Make an engine without a bf16 section, with which DeepSpeed would round the adapter."""
    model = policy(dtype)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_clipping": 1e9,
        "zero_optimization": {"stage": stage, "reduce_bucket_size": 1_000_000},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }
    optimizer = torch.optim.AdamW(trainable(model), lr=RATE, weight_decay=0.0)
    return deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]


def loss_of(model) -> torch.Tensor:
    logits = model(input_ids=IDS, use_cache=False).logits.float()
    return -logits[:, :-1].log_softmax(-1).gather(2, IDS[:, 1:, None]).mean()


def step(engine) -> None:
    engine.train()
    engine.backward(loss_of(engine))
    engine.step()


def scores(model) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits.float().log_softmax(-1)


def copied(weights) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in weights}


def distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Return the Euclidean distance over all weights."""
    return sum(float((ours[name] - theirs[name]).norm()) ** 2 for name in ours) ** 0.5


@of_every_kind
def test_two_steps_move_the_adapter_as_in_plain_torch_and_nothing_else(deepspeed, stage, dtype):
    engine = engine_of(deepspeed, stage, dtype)
    plain = policy(dtype)
    frozen = {n: t for n, t in copied(named_weights(plain)).items() if ".lora_" not in n}
    start = copied(adapter_weights(plain))
    optimizer = torch.optim.AdamW(trainable(plain), lr=RATE, weight_decay=0.0)
    reference = scores(engine)
    for _ in range(2):
        step(engine)
        optimizer.zero_grad()
        loss_of(plain).backward()
        optimizer.step()
        # The reference in between, as in every iteration, must not disturb the next update.
        with without_adapter(engine.module):
            assert torch.equal(scores(engine), reference)
    found, expected = (copied(adapter_weights(m)) for m in (engine.module, plain))
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    # ZeRO-3 has a linear layer of its own, which adds up bfloat16 gradients in another order.
    bound = 0.02 if (stage, dtype) == (3, torch.bfloat16) else 1e-4
    assert distance(found, expected) < bound * distance(expected, start)
    everything = copied(named_weights(engine.module))
    assert all(torch.equal(everything[name], tensor) for name, tensor in frozen.items())
    assert not torch.equal(scores(engine), reference)


@of_every_kind
def test_merged_weights_in_a_plain_model_give_the_policys_log_probs(deepspeed, stage, dtype):
    engine = engine_of(deepspeed, stage, dtype)
    step(engine)
    plain = LlamaForCausalLM(model_config(character_tokenizer())).to(dtype)
    names = [name for name, _ in named_weights(plain)]
    merged = copied(merged_weights(engine.module))
    assert list(merged) == names
    assert list(describe(engine.module)) == [
        (n, t.dtype, tuple(t.shape)) for n, t in merged.items()
    ]
    plain.load_state_dict(merged, strict=False)  # the tied head comes once
    bound = 1e-5 if dtype == torch.float32 else 0.1  # of which one rounding of the sum
    torch.testing.assert_close(scores(plain), scores(engine), atol=bound, rtol=0)


@of_every_kind
def test_a_checkpoint_is_small_and_training_resumes_from_it_exactly(
    deepspeed, stage, dtype, tmp_path
):
    engine = engine_of(deepspeed, stage, dtype)
    step(engine)
    engine.save_checkpoint(
        str(tmp_path), tag="learner", save_latest=False, exclude_frozen_parameters=True
    )
    step(engine)
    expected = copied(adapter_weights(engine.module))

    again = engine_of(deepspeed, stage, dtype)
    base = copied(named_weights(again.module))
    found, _ = again.load_checkpoint(str(tmp_path), tag="learner", custom_load_fn=load_trainable)
    assert found is not None
    step(again)
    for name, tensor in adapter_weights(again.module):
        assert torch.equal(tensor, expected[name]), name
    for name, tensor in named_weights(again.module):
        assert ".lora_" in name or torch.equal(tensor, base[name])

    size = sum(path.stat().st_size for path in tmp_path.rglob("*.pt"))
    adapter = sum(tensor.nbytes for tensor in expected.values())
    # Weights, a float32 copy, and AdamW's two averages; names and tables besides.
    assert size < 4 * adapter + 2**17
    assert 4 * adapter + 2**17 < sum(t.nbytes for t in base.values()) + 3 * adapter
