"""The settings that a vLLM engine is started with; plain values, so that they can be pickled."""

from dataclasses import dataclass

from score_ray.config.schema import ModelConfig, RolloutConfig
from score_ray.weights.backend import OBJECT_STORE


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """Sections of the config, and what follows from the rest of it."""

    model_folder: str  # or a Hugging Face name: what model.path stands for
    model: ModelConfig
    rollout: RolloutConfig
    backend: str = OBJECT_STORE  # that brings the weights here
    adapter_rank: int = 0  # of the adapter that the engine is sent; 0: it is sent the whole model
    adapter_layers: tuple[str, ...] = ()  # names of the layers that have one, such as "q_proj"
