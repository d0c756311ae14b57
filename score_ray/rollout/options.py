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
