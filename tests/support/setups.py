"""Settings of learner ranks and engines for tests, made without a config file."""

from dataclasses import replace
from typing import Any, TypeVar

from score_ray.config.schema import LearnerConfig, ModelConfig, RolloutConfig
from score_ray.learner.setup import LearnerSetup
from score_ray.rollout.setup import EngineSetup

Setup = TypeVar("Setup", LearnerSetup, EngineSetup)
RATE = 0.01
SECTIONS = ("model", "learner", "rollout")


def learner_setup(folder: str = "", **changes: Any) -> LearnerSetup:
    """Return settings with a constant learning rate of 0.01 and gradients that are not clipped.

    `changes` are fields of the setup, or keys of its sections.
    """
    model = ModelConfig(path="model", max_length=64)
    learner = LearnerConfig(learning_rate=RATE, max_grad_norm=1e9)
    return changed(LearnerSetup(folder, model, learner, 1.0, 10), **changes)


def engine_setup(folder: str = "", **changes: Any) -> EngineSetup:
    """Return settings of a small engine; `changes` as in `learner_setup`."""
    model = ModelConfig(path="model", max_length=32)
    rollout = RolloutConfig(problems=1, samples=1, max_tokens=1, max_running=64, kv_cache_gb=0.125)
    return changed(EngineSetup(folder, model, rollout), **changes)


def changed(setup: Setup, **changes: Any) -> Setup:
    """Return the setup with other values for its fields or for keys of its sections.

    Values are not validated, so that a test may set what a config may not, such as a learning
    rate of 0. Raises KeyError for a name that nothing has.
    """
    for name, value in changes.items():
        setup = replace(setup, **_change(setup, name, value))
    return setup


def _change(setup: Any, name: str, value: Any) -> dict[str, Any]:
    if hasattr(setup, name) and name not in SECTIONS:
        return {name: value}
    for section in SECTIONS:
        config = getattr(setup, section, None)
        if config is not None and name in type(config).model_fields:
            return {section: config.model_copy(update={name: value})}
    raise KeyError(name)
