"""What a learner rank is started with: plain values, which travel."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LearnerOptions:
    """What a learner rank needs to know to start."""

    model: str
    dtype: str
    temperature: float
    zero_stage: int
    learning_rate: float
    warmup_iterations: int
    decay_to: float
    iterations: int
    weight_decay: float
    max_grad_norm: float
    attention: str = "auto"
    packing: bool = False
    logits_bytes: int = 2**29
    gradient_checkpointing: bool = False
    offload_optimizer: bool = False
    max_importance: float = 0.0
    lora_rank: int = 0
    lora_alpha: float = 32.0
    lora_targets: tuple[str, ...] = ()
    adapter_alone: bool = False  # what is broadcast of it
