"""What an engine and a learner rank are started with: plain values, which travel."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine needs to know to start."""

    model: str
    dtype: str
    max_length: int
    max_running: int
    kv_cache_bytes: int
    tensor_parallel: int = 1
    gpu_memory: float = 0.85
    backend: str = "object_store"
    sleeps: bool = False
    lora_rank: int = 0  # of the adapter it is sent; 0: it is sent whole weights
    lora_targets: tuple[str, ...] = ()


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
