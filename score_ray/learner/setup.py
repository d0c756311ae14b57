"""The settings that a learner rank is started with; plain values, so that they can be pickled."""

from dataclasses import dataclass

from score_ray.config.schema import LearnerConfig, ModelConfig


@dataclass(frozen=True, slots=True)
class LearnerSetup:
    """The settings of a learner rank: sections of the config, and values derived from the rest."""

    model_folder: str  # or a Hugging Face name; found from model.path
    model: ModelConfig
    learner: LearnerConfig
    temperature: float  # at which the tokens to train on were sampled
    iterations: int  # of the whole run, over which the learning rate decays
    sends_adapter: bool = False  # engines get the adapter alone, and not the whole model
