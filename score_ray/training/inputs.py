"""Everything about a run that can be checked before a process starts, checked."""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from score_ray.config.config import Config, ConfigError
from score_ray.config.schema import ModelConfig
from score_ray.learner.attention import caps_scores, check_attention, flash_is_installed
from score_ray.learner.lora_targets import target_kinds
from score_ray.learner.options import LearnerOptions
from score_ray.rollout.options import EngineOptions
from score_ray.rollout.prompter import Prompter
from score_ray.tasks.custom_reward import OwnReward, find_reward
from score_ray.tasks.dataset import shared_questions
from score_ray.tasks.model_judge import Question
from score_ray.tasks.prompts import Prompts, choose
from score_ray.tasks.registry import make_task
from score_ray.training.model_source import resolve
from score_ray.types import Problem, Task

SCALES = ("logit_scale", "logits_scaling")  # Cohere's models, Granite's


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
        lora = self.config.learner.lora
        alone = self.config.sends_adapter
        return EngineOptions(
            model=self.model,
            dtype=model.dtype,
            max_length=model.max_length,
            max_running=rollout.max_running,
            kv_cache_bytes=int(rollout.kv_cache_gb * 2**30),
            tensor_parallel=rollout.tensor_parallel,
            gpu_memory=rollout.gpu_memory,
            sleeps=rollout.share_gpus,
            lora_rank=lora.rank if alone else 0,
            lora_targets=target_kinds(self.model, lora.targets) if alone else (),
        )

    def learner_options(self) -> LearnerOptions:
        """What a learner rank needs to know to start."""
        learner, rollout = self.config.learner, self.config.rollout
        return LearnerOptions(
            model=self.model,
            dtype=self.config.model.dtype,
            temperature=rollout.temperature,
            zero_stage=learner.zero_stage,
            learning_rate=learner.learning_rate,
            warmup_iterations=learner.warmup_iterations,
            decay_to=learner.decay_to,
            iterations=self.config.iterations,
            weight_decay=learner.weight_decay,
            max_grad_norm=learner.max_grad_norm,
            attention=self.config.model.attention,
            packing=learner.packing,
            logits_bytes=int(learner.logits_mb * 2**20),
            gradient_checkpointing=learner.gradient_checkpointing,
            offload_optimizer=learner.offload_optimizer,
            max_importance=learner.max_importance,
            lora_rank=learner.lora.rank,
            lora_alpha=learner.lora.alpha,
            lora_targets=learner.lora.targets,
            adapter_alone=self.config.sends_adapter,
        )

    def training_problems(self) -> tuple[Sequence[Problem], Sequence[Problem]]:
        """The problems to train on, and those kept back to choose a checkpoint by."""
        problems = self.task.problems("train")
        end = len(problems) - self.config.evaluation.held_out
        return problems[:end], problems[end:]

    def judge_question(self) -> Question:
        """What the frozen reference is asked where it judges."""
        from transformers import AutoTokenizer

        words = self.config.prompts
        tokenizer = AutoTokenizer.from_pretrained(self.model)
        return Question(tokenizer, words.judge, words.judge_yes, words.judge_no)


def check_inputs(config: Config, cache: Path, training: bool = True) -> Inputs:
    """Model, data and prompts of a config; a built-in model is made, and kept in `cache`.

    Only `training` reads the train split. Raises ConfigError for what cannot work.
    """
    with input_errors():
        task = make_task(config.task)
        if config.grading.reward:
            find_reward(config.grading.reward)
            task = OwnReward(task, config.grading.reward)
        train = task.problems("train") if training else []
        test = task.problems("test")[: config.evaluation.problems]
        needed = config.rollout.problems + config.evaluation.held_out
        _check_sizes(train, test, needed if training else 0)
        model = resolve(config.model.path, cache)
        _check_loads(model, config.model.path)
        _check_computed(model, config.model)
        if config.learner.lora.rank:
            target_kinds(model, config.learner.lora.targets)
        own = config.prompts
        words = choose(own.preset, Prompts(own.first, own.correction, own.system, own.feedback))
        inputs = Inputs(config, model, task, functools.partial(load_prompter, model, words))
        _check_room(inputs, train, test)
    return inputs


@contextmanager
def input_errors() -> Iterator[None]:
    """What is wrong with the input becomes a ConfigError; only here, not around the run."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _check_loads(model: str, named: str) -> None:
    """The libraries' own errors do not say which model, or that a tokenizer is missing."""
    from transformers import AutoConfig, AutoTokenizer

    for part, loader in (("config", AutoConfig), ("tokenizer", AutoTokenizer)):
        try:
            loader.from_pretrained(model)
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ConfigError(f"model.path: {named} has no {part} that loads: {reason}") from error


def _check_computed(folder: str, model: ModelConfig) -> None:
    """What the learner would compute otherwise than the model does is refused."""
    from transformers import AutoConfig

    own = AutoConfig.from_pretrained(folder).get_text_config()
    check_attention(model.attention, model.dtype, flash_is_installed(), caps_scores(own))
    for scale in SCALES:
        if getattr(own, scale, None) not in (None, 1):
            raise ConfigError(
                f"model.path: {model.path} multiplies its logits ({scale}), which the learner "
                "does not; choose a model without that"
            )


def _check_sizes(train: Sequence[Problem], test: Sequence[Problem], needed: int) -> None:
    shared = shared_questions(train, test)
    if shared:
        print(f"note: {shared} test questions are in the train split too", file=sys.stderr)
    if len(train) < needed or not test:
        raise ConfigError(
            f"rollout.problems and evaluation.held_out take {needed}; the train split has "
            f"{len(train)} problems, the test split {len(test)}"
        )


def _check_room(inputs: Inputs, train: Sequence[Problem], test: Sequence[Problem]) -> None:
    """Every problem's prompt and all its attempts fit into the model."""
    from transformers import AutoConfig

    config, prompter = inputs.config, inputs.make_prompter()
    rollout = config.rollout
    turn = prompter.longest_turn(rollout.max_tokens)
    positions = getattr(AutoConfig.from_pretrained(inputs.model), "max_position_embeddings", None)
    if positions and config.model.max_length > positions:
        raise ConfigError(
            f"model.max_length: {config.model.max_length} is more than the {positions} positions "
            "of the model"
        )
    for problems, attempts in ((train, rollout.attempts), (test, config.evaluated_attempts)):
        room = config.model.max_length - attempts * turn
        prompter.check_length(problems, room, rollout.max_tokens)
    if config.grading.judge:
        longest = positions or config.model.max_length
        inputs.judge_question().check_length([*train, *test], rollout.max_tokens, longest)


def load_prompter(model: str, words: Prompts) -> Prompter:
    """The prompter of a model's tokenizer; a function of plain values, so that it travels."""
    from transformers import AutoTokenizer

    return Prompter(AutoTokenizer.from_pretrained(model), words)
