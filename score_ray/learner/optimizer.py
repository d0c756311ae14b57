"""AdamW, its learning rate, and DeepSpeed's settings around it."""

from collections.abc import Iterable
from typing import Any

import torch

from score_ray.config.schema import LearnerConfig
from score_ray.learner.setup import LearnerSetup


def learning_rate_at(setup: LearnerSetup, iteration: int) -> float:
    """Return the learning rate of an iteration: it warms up, and decays linearly over the run."""
    learner = setup.learner
    warm = min(1.0, (iteration + 1) / (learner.warmup_iterations + 1))
    decayed = (1.0 - learner.decay_to) * iteration / setup.iterations
    return learner.learning_rate * warm * (1.0 - decayed)


def adamw(learner: LearnerConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.AdamW:
    """Return the optimizer; if it is offloaded, torch's fused one, which is fast on a CPU.

    DeepSpeed's own CPU Adam does the same, from a C++ extension that every node would have to
    compile first.
    """
    return torch.optim.AdamW(
        parameters,
        lr=learner.learning_rate,
        weight_decay=learner.weight_decay,
        fused=True if learner.offload_optimizer else None,
    )


def deepspeed_config(setup: LearnerSetup, trained: bool = True) -> dict[str, Any]:
    """Return DeepSpeed's settings for the policy, or (not `trained`) for a sharded reference.

    In bfloat16 the master weights, the optimizer's state, the sum over micro-batches and the
    sum over ranks are float32. DeepSpeed's stage 0 adds up micro-batches in bfloat16, so stage
    1 takes its place: the same numbers, with the optimizer's state sharded over the ranks.
    """
    learner = setup.learner
    # With an adapter this stays off: DeepSpeed would round the float32 adapter to bfloat16, and
    # the model under it is frozen anyway.
    mixed = setup.model.dtype == "bfloat16" and not learner.lora.rank
    zero: dict[str, Any] = {"stage": max(learner.zero_stage, int(mixed))}
    if trained and learner.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": learner.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's takes its place, see `adamw`
        "bf16": {"enabled": mixed},
        "steps_per_print": 10**9,
    }
    if mixed:
        config |= {"data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"}
    return config
