"""The settings that a vLLM engine is started with; plain values, so that they can be pickled."""

from dataclasses import dataclass

from score_ray.config.schema import ModelConfig, RolloutConfig
from score_ray.weights.backend import OBJECT_STORE


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """The settings of an engine: sections of the config, and values derived from the rest."""

    model_folder: str  # or a Hugging Face name; found from model.path
    model: ModelConfig
    rollout: RolloutConfig
    backend: str = OBJECT_STORE  # of the weight transfer to this engine
    adapter_rank: int = 0  # of the adapter that the engine gets; 0 if it gets the whole model
    adapter_layers: tuple[str, ...] = ()  # names of the adapted layers, such as "q_proj"
