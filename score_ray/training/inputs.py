"""Checks everything about a run that can be checked before a process starts."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from score_ray.config.config import Config
from score_ray.config.loading import input_errors
from score_ray.config.schema import ModelConfig
from score_ray.learner.attention import caps_scores, check_attention, flash_is_installed
from score_ray.learner.lora_targets import target_kinds
from score_ray.learner.model_files import check_weights
from score_ray.learner.setup import LearnerSetup
from score_ray.planning.hub import check_hub
from score_ray.reporting.run_folder import TEST
from score_ray.rollout.prompter import Prompter, load_prompter
from score_ray.rollout.setup import EngineSetup
from score_ray.runtime.ray_address import check_named_cluster
from score_ray.tasks.custom_reward import CustomReward, import_reward
from score_ray.tasks.dataset import shared_questions
from score_ray.tasks.model_judge import JudgeQuestion
from score_ray.tasks.prompts import choose_prompts
from score_ray.tasks.registry import RUN_PROGRAMS, make_task
from score_ray.tasks.sandbox.sandbox import Limits
from score_ray.training.fitting_problems import fitting_problems, left_out_note
from score_ray.training.mixture import check_mixture, hold_out
from score_ray.training.model_source import resolve
from score_ray.types import ConfigError, Problem, Task, UnusableRow

# Keys of a model's config that multiply its logits: Cohere's and Granite's.
SCALES = ("logit_scale", "logits_scaling")
MOST_LETTERS = 300  # of a library's reason
STARTS_SECONDS = 4.0  # the least time left to start and end a program, beside its own
TRAIN = "train"  # the split that is trained on


@dataclass(frozen=True, slots=True)
class Inputs:
    """A config with a model, data and prompts that exist and fit together.

    `model` is a folder or hub name; `make_prompter` is pickled and sent to rollout actors.
    """

    config: Config
    model: str
    task: Task
    make_prompter: Callable[[], Prompter]
    train: Sequence[Problem] = ()
    test: Sequence[Problem] = ()  # those that are evaluated
    left_out: Sequence[UnusableRow] = ()

    def engine_setup(self) -> EngineSetup:
        """Return the settings of a rollout actor's engine."""
        config = self.config
        setup = EngineSetup(self.model, config.model, config.rollout)
        if not config.sends_adapter:
            return setup
        lora = config.learner.lora
        layers = target_kinds(self.model, lora.targets)
        return replace(setup, adapter_rank=lora.rank, adapter_layers=layers)

    def learner_setup(self) -> LearnerSetup:
        """Return the settings of a learner rank."""
        config = self.config
        return LearnerSetup(
            self.model,
            config.model,
            config.learner,
            config.rollout.temperature,
            config.iterations,
            config.sends_adapter,
        )

    def training_problems(self) -> tuple[Sequence[Problem], Sequence[Problem]]:
        """Return the problems to train on, and the held-out ones that select a checkpoint."""
        config = self.config
        return hold_out(self.train, config.evaluation.held_out, config.task.weights)

    def judge_question(self) -> JudgeQuestion:
        """Return the question to the frozen reference as judge."""
        from transformers import AutoTokenizer

        texts = self.config.prompts
        tokenizer = AutoTokenizer.from_pretrained(self.model)
        return JudgeQuestion(tokenizer, texts.judge, texts.judge_yes, texts.judge_no)


def check_inputs(config: Config, cache: Path, splits: Sequence[str] = (TRAIN, TEST)) -> Inputs:
    """Check a config, and return its model, data and prompts.

    A built-in model is made if `cache` does not have it. Of the data only `splits` are read.
    Raises ConfigError, naming the key, if something is missing or does not fit.
    """
    check_named_cluster()
    with input_errors():
        task = _task(config)
        for split in splits:
            task.problems(split)  # before the model, which takes longer to look at
        model = resolve(config.model.path, cache)
        check_model(model, f"model.path: {config.model.path}")
        _check_logits(model, config.model)
        if config.learner.lora.rank:
            target_kinds(model, config.learner.lora.targets)
        prompts = choose_prompts(config.prompts)
        inputs = Inputs(config, model, task, partial(load_prompter, model, prompts))
        _check_positions(inputs)
        with _template_errors(config.model.path):
            return _with_problems(inputs, splits) if splits else inputs


def _task(config: Config) -> Task:
    task = make_task(config.task)
    if not config.grading.reward:
        _check_deadline(config)
        return task
    import_reward(config.grading.reward)
    return CustomReward(task, config.grading.reward)


def _check_deadline(config: Config) -> None:
    """Raise ConfigError if the grader would not wait for the end of a program that is too slow.

    A program that exceeds its own limit is wrong. One that exceeds the grader's deadline is not
    measured, so that a model could escape a wrong answer by a program that does not end.
    """
    own, deadline = Limits().seconds, config.grading.deadline
    runs_programs = config.task.name in RUN_PROGRAMS and not config.grading.judge
    if runs_programs and deadline < own + STARTS_SECONDS:
        raise ConfigError(
            f"grading.deadline: a program may take {own:g} s, and has to be started and ended; "
            f"set it to {own + STARTS_SECONDS:g} or more ({deadline:g} is set)"
        )


def check_trained_model(run: Path, model: Path) -> None:
    """Raise ConfigError, which names the folder, unless the model that a run has left loads."""
    try:
        check_model(str(model), str(model))
    except ConfigError as error:
        raise ConfigError(
            f"{error}; or move that folder away, and write the model again from a checkpoint: "
            f"score-ray export {run} {model}"
        ) from error


def check_model(model: str, place: str) -> None:
    """Raise ConfigError unless a model's config, tokenizer and weights load.

    `place` names the model at the beginning of the message.
    """
    from transformers import AutoConfig, AutoTokenizer

    check_hub(model)
    for part, loader in (("config", AutoConfig), ("tokenizer", AutoTokenizer)):
        try:
            loader.from_pretrained(model)
        except Exception as error:  # libraries underneath raise all kinds, plain Exceptions too
            lines = str(error).split("\n\n")[0].split()  # what follows is advice
            reason = " ".join(lines)[:MOST_LETTERS] or type(error).__name__
            raise ConfigError(f"{place} has no {part} that loads: {reason}") from error
    check_weights(model, place)


@contextmanager
def _template_errors(named: str) -> Iterator[None]:
    """Raise an error of the chat template as a ConfigError that names the model."""
    from jinja2 import TemplateError

    try:
        yield
    except TemplateError as error:
        raise ConfigError(
            f"model.path: the chat template of {named} fails: {error}; if it takes no system "
            "prompt, leave prompts.system empty, else mend the model's chat_template.jinja (or "
            "chat_template in its tokenizer_config.json)"
        ) from error


def _check_logits(folder: str, model: ModelConfig) -> None:
    """Raise ConfigError if the learner would compute other logits than the engine."""
    from transformers import AutoConfig

    loaded = AutoConfig.from_pretrained(folder).get_text_config()
    check_attention(model.attention, model.dtype, flash_is_installed(), caps_scores(loaded))
    for scale in SCALES:
        if getattr(loaded, scale, None) not in (None, 1):
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
            f"rollout.problems and evaluation.held_out need {needed} training problems; the train "
            f"split has {len(train)} problems, the test split {len(test)}"
        )


def _positions(model: str) -> int | None:
    """Return the number of positions that a model names, or None."""
    from transformers import AutoConfig

    return getattr(AutoConfig.from_pretrained(model), "max_position_embeddings", None)


def _check_positions(inputs: Inputs) -> None:
    """Raise ConfigError if an episode may have more tokens than the model has positions."""
    positions, length = _positions(inputs.model), inputs.config.model.max_length
    if positions and length > positions:
        raise ConfigError(
            f"model.max_length: {length} is more than the {positions} positions of the model"
        )


def _with_problems(inputs: Inputs, splits: Sequence[str]) -> Inputs:
    """Return inputs with the problems that can be put to the model; say what else was found."""
    config, prompter = inputs.config, inputs.make_prompter()
    for key, names in prompter.prompts_with_controls().items():
        print(f"note: prompts.{key} holds control tokens: {', '.join(names)}", file=sys.stderr)
    fitting = partial(fitting_problems, inputs.task, prompter=prompter, config=config)
    train, test, left_out = [], [], []
    if TRAIN in splits:
        train, left_out = fitting(TRAIN, attempts=config.rollout.attempts, most=None)
    if TEST in splits:
        attempts, most = config.evaluated_attempts, config.evaluation.problems
        test, rows = fitting(TEST, attempts=attempts, most=most)
        left_out = [*left_out, *rows]
    if left_out:
        print(f"note: {left_out_note(left_out)}", file=sys.stderr)
    found = replace(inputs, train=train, test=test, left_out=left_out)
    _check_numbers(found, is_trained=TRAIN in splits)
    if config.grading.judge:
        longest = _positions(inputs.model) or config.model.max_length
        question = inputs.judge_question()
        question.check_length([*train, *test], config.rollout.max_tokens, longest)
    return found


def _check_numbers(inputs: Inputs, is_trained: bool) -> None:
    """Raise ConfigError if there are too few problems for an iteration, or for an evaluation."""
    config = inputs.config
    count, held_out = config.rollout.problems, config.evaluation.held_out
    _check_sizes(inputs.train, inputs.test, count + held_out if is_trained else 0)
    if is_trained:
        check_mixture(inputs.train, count, held_out, config.task.weights)
