"""What a run is made of: one strict, frozen, typed tree, read from one YAML file.

Unknown keys and wrong types are errors that name the key. Each section is read by the
module of its name; nothing is changed after loading, and the resolved tree is saved with
the run.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError
from pydantic import NonNegativeFloat as NonNegative

from score_ray.overrides import apply
from score_ray.types import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
# How a run is carried out, not what it computes: these may change when it is started again.
FREE = (
    "rollout.num_actors", "rollout.tensor_parallel", "rollout.max_running", "rollout.kv_cache_gb",
    "grading.num_workers", "weights.part_mb", "checkpoint.", "recovery.",
)  # fmt: skip
JUDGE = (
    "Question:\n{question}\n\nCorrect answer:\n{answer}\n\nProposed answer:\n{attempt}\n\n"
    "Is the proposed answer correct? Reply with Yes or No."
)


class Section(BaseModel):
    """Strict and frozen: no unknown key, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Model(Section):
    """The policy's starting point, which is also the frozen reference in every stage."""

    path: str  # a folder, a Hugging Face name, "embedded:arithmetic" or "package:smollm2"
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_length: PositiveInt  # tokens of a whole episode: prompts and all attempts


class TaskConfig(Section):
    """Where problems come from: generated, or read from `train` and `test`."""

    name: Literal["arithmetic", "sums", "math", "mbpp", "mbpp_r", "humaneval"]
    held_out: PositiveInt = 1000  # generated tasks: problems kept for evaluation
    largest: PositiveInt = 99  # sums: the largest number that is added
    train: str = ""  # file, folder or Hugging Face name: PLACE[:CONFIG][@SPLIT]
    test: str = ""  # mbpp: one file named for both is split by task_id, as published
    question_column: str = "question"  # math
    answer_column: str = "answer"  # math
    attempt_column: str = ""  # mbpp_r: holds the first program, which is to be repaired


class PromptConfig(Section):
    """The words around a question; `preset` names a pair from prompts.py instead."""

    preset: Literal["", "paper_math", "paper_mbpp", "paper_humaneval"] = ""
    first: str = ""  # contains {question}
    correction: str = ""
    system: str = ""
    judge: str = JUDGE  # contains {question}, {answer} and {attempt}
    judge_yes: str = "Yes"
    judge_no: str = "No"


class Rollout(Section):
    """How episodes are sampled."""

    num_actors: PositiveInt = 1  # rollout actors, each with a vLLM engine
    tensor_parallel: PositiveInt = 1  # GPUs of each engine, all on one node
    problems: PositiveInt  # problems per iteration
    samples: PositiveInt  # episodes per problem
    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    max_tokens: PositiveInt  # tokens per attempt
    temperature: PositiveFloat = 1.0
    offline_share: Fraction = 0.0  # of the problems: first attempt given, by the base model
    max_running: PositiveInt = 256  # requests in an engine's running batch
    kv_cache_gb: PositiveFloat = 1.0  # on a CPU; on a GPU vLLM takes its share of the memory


class Learner(Section):
    """The DeepSpeed side."""

    num_ranks: PositiveInt = 1
    zero_stage: Literal[0, 1, 2, 3] = 0
    learning_rate: PositiveFloat
    warmup_iterations: Annotated[int, Field(ge=0)] = 0
    weight_decay: NonNegative = 0.0
    max_grad_norm: PositiveFloat = 1.0
    tokens_per_micro_batch: PositiveInt = 4096  # padded tokens


class Stage(Section):
    """A stage is a row of numbers, one per attempt (see objective.py)."""

    name: str
    iterations: PositiveInt
    reward: tuple[float, ...]
    bonus: NonNegative = 0.0  # alpha
    kl: tuple[NonNegative, ...]


class Weights(Section):
    """The broadcast, and the check after it."""

    part_mb: PositiveFloat = 256.0  # a broadcast is sent in parts of about this size
    max_mismatch: PositiveFloat = 1e-3  # mean |log-prob difference| between engine and learner
    probe_tokens: PositiveInt = 256


class Evaluation(Section):
    """Greedy evaluation on the test split: before, between and after the stages."""

    problems: PositiveInt = 1000
    every: Annotated[int, Field(ge=0)] = 0  # also every so many iterations; 0: not
    attempts: Annotated[int, Field(ge=0, le=10)] = 0  # 0: as many as in training


class Grading(Section):
    """The process pool that judges answers."""

    num_workers: PositiveInt = 1
    deadline: PositiveFloat = 10.0  # seconds per attempt
    reward: str = ""  # "module:function" of your own, in place of the task's check
    judge: bool = False  # the frozen reference judges, in place of the task's check


class Checkpoint(Section):
    """What a killed run goes on from."""

    every: PositiveInt = 10  # iterations
    keep: PositiveInt = 2


class Recovery(Section):
    """When a process counts as lost, and how often lost ones are replaced."""

    start: PositiveFloat = 600.0  # seconds for loading models, and for the first call of a kind
    grace: PositiveFloat = 60.0  # seconds beyond the slowest call of its kind so far
    cluster: NonNegative = 0.0  # seconds that a cluster may take to grow to what is asked
    retries: Annotated[int, Field(ge=0)] = 3  # replacements in a row that get no further


class Config(Section):
    """A whole run."""

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    model: Model
    task: TaskConfig
    prompts: PromptConfig
    rollout: Rollout
    learner: Learner
    stages: tuple[Stage, ...]
    weights: Weights = Weights()
    evaluation: Evaluation = Evaluation()
    grading: Grading = Grading()
    checkpoint: Checkpoint = Checkpoint()
    recovery: Recovery = Recovery()

    def model_post_init(self, _: object) -> None:
        """Check what spans sections."""
        if not self.stages:
            raise ValueError("stages: at least one stage is needed")
        for stage in self.stages:
            if not len(stage.reward) == len(stage.kl) == self.rollout.attempts:
                raise ValueError(
                    f"stages: {stage.name!r} needs {self.rollout.attempts} numbers in reward and "
                    f"kl, one per attempt; it has {len(stage.reward)} and {len(stage.kl)}"
                )
        if self.rollout.offline_share and self.rollout.attempts == 1:
            raise ValueError("rollout.offline_share: a given first attempt needs a second one")
        if self.grading.judge and self.grading.reward:
            raise ValueError("grading: judge and reward exclude each other")
        if not self.prompts.preset and "{question}" not in self.prompts.first:
            raise ValueError("prompts.first: must contain {question}, or name a preset")
        self._check_sources()

    def _check_sources(self) -> None:
        task = self.task
        if task.name in ("math", "mbpp") and not (task.train and task.test):
            raise ValueError(f'task.train and task.test: task "{task.name}" needs both')
        if task.name in ("mbpp_r", "humaneval") and not task.test:
            raise ValueError(f'task.test: task "{task.name}" needs it')
        if (task.name == "mbpp_r") != bool(task.attempt_column):
            raise ValueError(
                'task.attempt_column: task "mbpp_r" needs the column of the first program, and '
                "no other task takes one"
            )

    @property
    def evaluated_attempts(self) -> int:
        """Attempts per problem in an evaluation."""
        return self.evaluation.attempts or self.rollout.attempts

    @property
    def iterations(self) -> int:
        """Iterations of all stages together."""
        return sum(stage.iterations for stage in self.stages)

    def stage_at(self, iteration: int) -> Stage:
        """The stage that iteration (from 0) belongs to."""
        for stage in self.stages:
            if iteration < stage.iterations:
                return stage
            iteration -= stage.iterations
        raise IndexError(f"the run has {self.iterations} iterations")

    def stage_ends(self) -> dict[int, str]:
        """How many iterations are done when each stage ends, with the stage's name."""
        done, ends = 0, {}
        for stage in self.stages:
            done += stage.iterations
            ends[done] = stage.name
        return ends


def load(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file, apply `section.key=value` overrides, and check everything.

    Raises ConfigError naming the file, the key and what is wrong with it.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a mapping of sections is expected")
    for override in overrides:
        apply(tree, override)
    return parse(tree, str(path))


def parse(tree: dict, origin: str) -> Config:
    """Check a tree of plain values; `origin` is named in errors."""
    try:
        # JSON mode takes lists for tuples and is strict otherwise.
        import json

        return Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        lines = [f"  {_place(e['loc'])}{_reason(e)}" for e in error.errors()]
        raise ConfigError("\n".join([f"{origin}: the config does not fit:", *lines])) from error


def dump(config: Config) -> str:
    """The resolved config as YAML; `load` reads it back to an equal tree."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def differences(ours: Config, theirs: Config) -> list[str]:
    """The dotted keys in which two configs describe different runs, with both values."""
    a, b = _flat(ours.model_dump(mode="json")), _flat(theirs.model_dump(mode="json"))
    changed = [k for k in sorted(a | b) if a.get(k) != b.get(k) and not k.startswith(FREE)]
    return [f"{k}: {b.get(k)} -> {a.get(k)}" for k in changed]


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _reason(error) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "this key is required"
    message = error["msg"].removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"{message}; got {error['input']!r}"


def _flat(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    return {k: v for key, sub in tree.items() for k, v in _flat(sub, f"{prefix}{key}.").items()}
