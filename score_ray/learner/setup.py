"""The settings that a learner rank is started with; plain values, so that they can be pickled."""

from dataclasses import dataclass

from score_ray.config.schema import LearnerConfig, ModelConfig


@dataclass(frozen=True, slots=True)
class LearnerSetup:
    """Sections of the config, and what follows from the rest of it."""

    model_folder: str  # or a Hugging Face name: what model.path stands for
    model: ModelConfig
    learner: LearnerConfig
    temperature: float  # at which the tokens to train on were drawn
    iterations: int  # of the whole run, over which the learning rate decays
    sends_adapter: bool = False  # engines get the adapter alone, and not the whole model
