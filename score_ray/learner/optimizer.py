"""AdamW and its learning rate, and what DeepSpeed is asked to do with them."""

from collections.abc import Iterable
from typing import Any

import torch

from score_ray.learner.options import LearnerOptions


def rate_at(options: LearnerOptions, iteration: int) -> float:
    """The learning rate of an iteration: it warms up, and falls linearly over the run."""
    warm = min(1.0, (iteration + 1) / (options.warmup_iterations + 1))
    fallen = (1.0 - options.decay_to) * iteration / options.iterations
    return options.learning_rate * warm * (1.0 - fallen)


def adamw(options: LearnerOptions, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.AdamW:
    """The optimizer; offloaded, it is torch's fused one, which runs on a CPU's vector units.

    DeepSpeed's own CPU Adam does the same from a C++ extension that every node would have to
    compile first.
    """
    return torch.optim.AdamW(
        parameters,
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=True if options.offload_optimizer else None,
    )


def deepspeed_config(options: LearnerOptions, trained: bool = True) -> dict[str, Any]:
    """DeepSpeed's settings, of the policy or (not `trained`) of a sharded reference.

    In bfloat16 the master weights, the optimizer's state, the sum over micro-batches and the
    sum over ranks are float32. DeepSpeed's stage 0 adds up micro-batches in bfloat16, so stage
    1 takes its place: the same numbers, with the optimizer's state shared out over the ranks.
    """
    # Beside an adapter the base is frozen, and DeepSpeed would round the float32 adapter to it.
    low = options.dtype == "bfloat16" and not options.lora_rank
    zero: dict[str, Any] = {"stage": max(options.zero_stage, int(low))}
    if trained and options.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": options.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's takes its place, see `adamw`
        "bf16": {"enabled": low},
        "steps_per_print": 10**9,
    }
    if low:
        config |= {"data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"}
    return config
