"""Finds the keys that do nothing, because of other keys of the same config.

Such a key is refused if somebody has set it, so that nothing that was asked is ignored.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from score_ray.config.config import Config
from score_ray.config.prompt_texts import PROMPT_TEXTS
from score_ray.config.schema import AdapterConfig, TaskConfig
from score_ray.config.section import Section
from score_ray.config.task_keys import GENERATED, TASK_KEYS
from score_ray.types import ConfigError

WHATEVER = ("task.name", "task.question")  # keys because of which others may not be set at all
COLUMN_KEYS = ("question", "question_column", "answer_column")  # of one of several data sets
JUDGE_KEYS = ("judge", "judge_yes", "judge_no")


@dataclass(frozen=True, slots=True)
class UnreadKey:
    """A key that does nothing, the key that is why, and that reason in words.

    `differs` says whether its value is not the default.
    """

    key: str
    because_of: str
    reason: str
    differs: bool


def unread_keys(config: Config) -> list[UnreadKey]:
    """Return every key that does nothing in this config."""
    of_task = [*_of_task(config), *_of_train_sources(config.task)]
    return [*of_task, *_of_prompts(config), *_of_adapter(config), *_of_stages(config)]


def refuse_unread(unread: list[UnreadKey], given: Collection[str], origin: str | None) -> None:
    """Raise ConfigError if somebody has set a key that does nothing.

    `given` are the keys that overrides set. A key of `task` is refused there whatever its value,
    any other one if it is not the default. In the file, which `origin` names, a key counts that
    is not the default, unless an override of another key is why it does nothing. Without an
    origin the file's keys are not looked at.
    """
    own = [k for k in unread if k.key in given and (k.differs or k.because_of in WHATEVER)]
    in_file = [k for k in unread if k.differs and k.key not in given and not _is_in(k, given)]
    in_file = in_file if origin is not None else []
    for keys, start in ((own, ""), (in_file, f"{origin}: ")):
        if keys:
            names = [k.key for k in keys if k.reason == keys[0].reason]
            raise ConfigError(f"{start}{', '.join(names)}: {keys[0].reason}")


def _is_in(unread: UnreadKey, given: Collection[str]) -> bool:
    return any(f"{key}.".startswith(f"{unread.because_of}.") for key in given)


def _unread(
    section: Section, prefix: str, names: Collection[str], why: str, reason: str
) -> Iterator[UnreadKey]:
    for name in names:
        default = type(section).model_fields[name].get_default(call_default_factory=True)
        differs = getattr(section, name) != default
        yield UnreadKey(f"{prefix}.{name}", why, reason, differs)


def _of_task(config: Config) -> Iterator[UnreadKey]:
    task, known = config.task, {key for keys in TASK_KEYS.values() for key in keys}
    for key in TaskConfig.model_fields:
        if key not in known or key in TASK_KEYS[task.name]:
            continue
        readers = [name for name, keys in TASK_KEYS.items() if key in keys]
        reason = f'the task "{task.name}" does not read it; {_listed(readers)}'
        if task.name in GENERATED and key in TASK_KEYS["math"]:
            reason = (
                f'the task "{task.name}" generates its problems and does not read it; set '
                "task.name=math for a data set of your own"
            )
        yield from _unread(task, "task", [key], "task.name", reason)
    if task.question and task.name == "math":
        reason = "the template task.question names the columns of a question; leave one of them out"
        yield from _unread(task, "task", ["question_column"], "task.question", reason)


def _of_train_sources(task: TaskConfig) -> Iterator[UnreadKey]:
    if task.name == "math" or task.name in GENERATED:
        return
    reason = f'the task "{task.name}" does not read it; only math does'
    for number, source in enumerate(task.train_sources):
        yield from _unread(source, f"task.train.{number}", COLUMN_KEYS, "task.name", reason)


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last} do" if others else f"only {last} does"


def _of_prompts(config: Config) -> Iterator[UnreadKey]:
    prompts = config.prompts
    if not config.grading.judge:
        reason = "nothing judges answers with it; set grading.judge=true or leave it out"
        yield from _unread(prompts, "prompts", JUDGE_KEYS, "grading.judge", reason)
    if prompts.preset and all(getattr(prompts, name) is not None for name in PROMPT_TEXTS):
        reason = f"{', '.join(PROMPT_TEXTS)} replace all its texts; leave it out, or one of these"
        yield from _unread(prompts, "prompts", ["preset"], "prompts", reason)


def _of_adapter(config: Config) -> Iterator[UnreadKey]:
    lora = config.learner.lora
    if not lora.rank:
        names = [name for name in AdapterConfig.model_fields if name != "rank"]
        reason = "no adapter is trained while learner.lora.rank is 0; set the rank above 0"
        yield from _unread(lora, "learner.lora", names, "learner.lora.rank", reason)


def _of_stages(config: Config) -> Iterator[UnreadKey]:
    for number, stage in enumerate(config.stages):
        key = f"stages.{number}"
        if stage.learn == "reinforce":
            reason = "reinforce trains on every episode; star and pairs choose those to keep"
            yield from _unread(stage, key, ["keep"], f"{key}.learn", reason)
        if config.rollout.attempts == 1:
            reason = "there is no gain from one attempt to the next with rollout.attempts=1"
            yield from _unread(stage, key, ["bonus"], "rollout.attempts", reason)
