"""Everything about a run that can be checked before a process starts, checked."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from score_ray.config import Config, ConfigError
from score_ray.models import resolve
from score_ray.prompts import Prompter, Prompts, choose
from score_ray.tasks.catalog import make_task
from score_ray.types import EngineOptions, LearnerOptions, Task


@dataclass(frozen=True, slots=True)
class Inputs:
    """A config whose model, data and prompts are there and fit together.

    `model` is a folder or hub name that loads; `make_prompter` travels to rollout actors.
    """

    config: Config
    model: str
    task: Task
    make_prompter: Callable[[], Prompter]

    def engine_options(self) -> EngineOptions:
        """What a rollout actor's engine needs to know to start."""
        model, rollout = self.config.model, self.config.rollout
        return EngineOptions(
            model=self.model,
            dtype=model.dtype,
            max_length=model.max_length,
            max_running=rollout.max_running,
            kv_cache_bytes=int(rollout.kv_cache_gb * 2**30),
        )

    def learner_options(self) -> LearnerOptions:
        """What a learner rank needs to know to start."""
        learner, rollout = self.config.learner, self.config.rollout
        return LearnerOptions(
            model=self.model,
            dtype=self.config.model.dtype,
            temperature=rollout.temperature,
            num_attempts=rollout.attempts,
            zero_stage=learner.zero_stage,
            learning_rate=learner.learning_rate,
            warmup_iterations=learner.warmup_iterations,
            weight_decay=learner.weight_decay,
            max_grad_norm=learner.max_grad_norm,
        )


def check_inputs(config: Config, cache: Path) -> Inputs:
    """Model, data and prompts of a config; a built-in model is made, and kept in `cache`.

    Raises ConfigError for what cannot work.
    """
    with input_errors():
        task = make_task(config.task)
        _check_sizes(config, task)
        model = resolve(config.model.path, cache)
        own = config.prompts
        words = choose(own.preset, Prompts(own.first, own.correction, own.system))
        make_prompter = functools.partial(load_prompter, model, words)
        _check_room(config, task, model, make_prompter())
    return Inputs(config, model, task, make_prompter)


@contextmanager
def input_errors() -> Iterator[None]:
    """What is wrong with the input becomes a ConfigError; only here, not around the run."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _check_sizes(config: Config, task: Task) -> None:
    train, test = task.problems("train"), task.problems("test")
    if len(train) < config.rollout.problems or not test:
        raise ConfigError(
            f"rollout.problems: an iteration takes {config.rollout.problems}; the train split "
            f"has {len(train)} problems, the test split {len(test)}"
        )


def _check_room(config: Config, task: Task, model: str, prompter: Prompter) -> None:
    """Every problem's prompt and all its attempts fit into the model."""
    from transformers import AutoConfig

    turn = len(prompter.longest_correction) + config.rollout.max_tokens
    positions = getattr(AutoConfig.from_pretrained(model), "max_position_embeddings", None)
    if positions and config.model.max_length > positions:
        raise ConfigError(
            f"model.max_length: {config.model.max_length} is more than the {positions} positions "
            "of the model"
        )
    room = config.model.max_length - config.rollout.attempts * turn
    test = task.problems("test")[: config.evaluation.problems]
    prompter.check_length([*task.problems("train"), *test], room)


def load_prompter(model: str, words: Prompts) -> Prompter:
    """The prompter of a model's tokenizer; a function of plain values, so that it travels."""
    from transformers import AutoTokenizer

    return Prompter(AutoTokenizer.from_pretrained(model), words)
