"""What a run is made of: one strict, frozen, typed tree, read from one YAML file.

Unknown keys and wrong types are errors that name the key. Nothing is changed after loading,
and the resolved tree is saved with the run. What can be set is in sections.py.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from score_ray.config.overrides import apply, read_yaml, write_yaml
from score_ray.config.schema import (
    CheckpointConfig,
    EvaluationConfig,
    GradingConfig,
    LearnerConfig,
    ModelConfig,
    PromptConfig,
    RecoveryConfig,
    RolloutConfig,
    Section,
    Stage,
    TaskConfig,
    WeightSync,
)
from score_ray.types import ConfigError

# How a run is carried out, not what it computes: these may change when it is started again.
FREE = (
    "rollout.num_actors", "rollout.tensor_parallel", "rollout.max_running", "rollout.kv_cache_gb",
    "rollout.gpu_memory", "rollout.share_gpus", "learner.logits_mb", "model.attention",
    "learner.gradient_checkpointing", "learner.offload_optimizer", "learner.lora.broadcast",
    "grading.num_workers", "weights.part_mb", "weights.backend", "checkpoint.", "recovery.",
)  # fmt: skip


class Config(Section):
    """A whole run."""

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    model: ModelConfig
    task: TaskConfig
    prompts: PromptConfig
    rollout: RolloutConfig
    learner: LearnerConfig
    stages: tuple[Stage, ...]
    weights: WeightSync = WeightSync()
    evaluation: EvaluationConfig = EvaluationConfig()
    grading: GradingConfig = GradingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    recovery: RecoveryConfig = RecoveryConfig()

    def model_post_init(self, _: object) -> None:
        """Check what spans sections."""
        for stage in self.stages:
            if not len(stage.reward) == len(stage.kl) == self.rollout.attempts:
                raise ValueError(
                    f"stages: {stage.name!r} needs {self.rollout.attempts} numbers in reward and "
                    f"kl, one per attempt; it has {len(stage.reward)} and {len(stage.kl)}"
                )
        if self.rollout.offline_share and self.rollout.attempts == 1:
            raise ValueError("rollout.offline_share: a given first attempt needs a second one")
        if self.checkpoint.select == "held_out" and not self.evaluation.held_out:
            raise ValueError("checkpoint.select: held_out needs evaluation.held_out problems")
        if self.grading.judge and self.grading.reward:
            raise ValueError("grading: judge and reward exclude each other")
        if not self.prompts.preset and "{question}" not in self.prompts.first:
            raise ValueError("prompts.first: must contain {question}, or name a preset")
        self._check_learner()
        self._check_gpus()
        self._check_sources()

    def _check_learner(self) -> None:
        learner = self.learner
        if learner.offload_optimizer and not learner.zero_stage and self.model.dtype == "float32":
            raise ValueError("learner.offload_optimizer: needs learner.zero_stage 1, 2 or 3")
        if learner.lora.broadcast == "adapter" and not learner.lora.rank:
            raise ValueError("learner.lora.broadcast: there is no adapter while lora.rank is 0")

    def _check_gpus(self) -> None:
        ranks = self.rollout.num_actors * self.rollout.tensor_parallel
        if self.rollout.share_gpus and self.learner.num_ranks != ranks:
            raise ValueError(
                "rollout.share_gpus: learner.num_ranks must be rollout.num_actors times "
                f"rollout.tensor_parallel, {ranks}; it is {self.learner.num_ranks}"
            )
        if not self.rollout.overlap:
            return
        if self.rollout.share_gpus:
            raise ValueError("rollout: overlap needs GPUs of its own, which share_gpus denies it")
        if not self.learner.max_importance:
            raise ValueError(
                "learner.max_importance: rollout.overlap draws from weights that are one update "
                "old, which this corrects for; 2.0 is usual"
            )

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

    def version_at(self, iteration: int) -> int:
        """The version of the weights that are served before an iteration: the last one broadcast.

        Also for the end of the run, where the trained weights are.
        """
        start = 0
        for stage in self.stages:
            if iteration < start + stage.iterations:
                return iteration - (iteration - start) % stage.refresh
            start += stage.iterations
        return iteration

    @property
    def sends_adapter(self) -> bool:
        """Whether engines are sent the adapter alone, and not whole weights."""
        lora = self.learner.lora
        alone = lora.broadcast == "adapter" or (
            lora.broadcast == "auto" and self.model.dtype == "bfloat16"
        )
        return lora.rank > 0 and alone

    def is_ahead(self, iteration: int) -> bool:
        """Whether an iteration is sampled while the learner updates on the one before.

        Not after an evaluation or a checkpoint, where engines and learner are in step: so a
        resumed run is the same run, and a stage starts from the weights the last one left.
        """
        pauses = iteration in (0, self.iterations)
        pauses = pauses or self.is_evaluated(iteration) or self.is_saved(iteration)
        return bool(self.rollout.overlap) and not pauses

    def is_served(self, done: int) -> bool:
        """Whether the weights after `done` updates are broadcast."""
        return self.version_at(done) == done

    def is_evaluated(self, done: int) -> bool:
        """Whether the test split is evaluated after `done` updates."""
        return done in self.stage_ends() or self._is_due(done, self.evaluation.every)

    def is_saved(self, done: int) -> bool:
        """Whether there is a checkpoint after `done` updates."""
        return done in self.stage_ends() or self._is_due(done, self.checkpoint.every)

    def _is_due(self, done: int, every: int) -> bool:
        # What happens every so many iterations waits for weights that are served.
        if not every or not self.is_served(done):
            return False
        return done // every > self.version_at(done - 1) // every

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
    tree = read_tree(path, "config file", "a mapping of sections")
    for override in overrides:
        apply(tree, override)
    return parse(tree, str(path))


@contextmanager
def input_errors() -> Iterator[None]:
    """Raise an OSError or ValueError of the block as a ConfigError; for input alone, not a run."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from error


def read_tree(path: Path, kind: str, content: str) -> dict:
    """What a YAML file holds, unchecked; errors call the file `kind` and expect `content`."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such {kind}")
    try:
        tree = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: {content} is expected")
    return tree


def parse(tree: dict, origin: str) -> Config:
    """Check a tree of plain values; `origin` is named in errors."""
    try:
        # JSON mode takes lists for tuples and is strict otherwise.
        import json

        return Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise ConfigError(
            "\n".join([f"{origin}: the config does not fit:", *faults(error)])
        ) from error


def faults(error: ValidationError) -> list[str]:
    """What is wrong with a tree, a line per key."""
    return [f"  {_place(e['loc'])}{_reason(e)}" for e in error.errors()]


def dump(config: Config) -> str:
    """The resolved config as YAML; `load` reads it back to an equal tree."""
    return write_yaml(config.model_dump(mode="json"))


def differences(ours: Config, theirs: Config) -> list[str]:
    """The dotted keys in which two configs describe different runs, with both values."""
    a, b = _flat(ours.model_dump(mode="json")), _flat(theirs.model_dump(mode="json"))
    changed = [k for k in sorted(a | b) if a.get(k) != b.get(k) and not k.startswith(FREE)]
    return [f"{k}: {b.get(k)} -> {a.get(k)}" for k in changed]


def refuse_other(folder: Path, config: Config, advice: str) -> None:
    """A run folder belongs to one config; ConfigError naming what differs, and the advice."""
    saved = folder / "config.yaml"
    changed = differences(config, load(saved)) if saved.is_file() else []
    if changed:
        raise ConfigError(
            f"{folder} holds a run of another config; {advice}. What differs:\n  "
            + "\n  ".join(changed)
        )


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
