"""The config of a run: one strict, frozen, typed tree, and values derived from it.

Nothing changes after loading, and the resolved tree is saved with the run. The keys are in
schema.py.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from score_ray.config.prompt_texts import PromptConfig
from score_ray.config.run_name import folder_name
from score_ray.config.schema import (
    CheckpointConfig,
    EvaluationConfig,
    GradingConfig,
    LearnerConfig,
    ModelConfig,
    RecoveryConfig,
    RolloutConfig,
    Stage,
    TaskConfig,
    WeightSync,
)
from score_ray.config.section import Free, Section


class Config(Section):
    """Everything that a run depends on."""

    # The run folder's name in the folder of --runs.
    name: Annotated[str, AfterValidator(folder_name)]
    # Seed of everything that is random.
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
    checkpoint: Free[CheckpointConfig] = CheckpointConfig()
    recovery: Free[RecoveryConfig] = RecoveryConfig()

    def model_post_init(self, _: object) -> None:
        """Check what depends on several sections."""
        self._check_attempts()
        if self.checkpoint.select == "held_out" and not self.evaluation.held_out:
            raise ValueError(
                "checkpoint.select: held_out needs evaluation.held_out problems, and it is 0"
            )
        if self.grading.judge and self.grading.reward:
            raise ValueError("grading: judge and reward exclude each other; set one of them")
        first, preset = self.prompts.first, self.prompts.preset
        if "{question}" not in (first or "") and not (preset and first is None):
            other = f"leave it out for that of {preset}" if preset else "name a preset"
            raise ValueError(f"prompts.first: must contain {{question}}, or {other}")
        self._check_learner()
        self._check_gpus()
        self._check_sources()

    def _check_attempts(self) -> None:
        for stage in self.stages:
            if not len(stage.reward) == len(stage.kl) == self.rollout.attempts:
                raise ValueError(
                    f"stages: {stage.name!r} needs {self.rollout.attempts} numbers in reward and "
                    f"kl, one per attempt; it has {len(stage.reward)} and {len(stage.kl)}"
                )
        if self.rollout.offline_share and self.rollout.attempts == 1:
            raise ValueError(
                "rollout.offline_share: a given first attempt needs a second one to train on; set "
                "rollout.attempts to 2 or more, or rollout.offline_share to 0"
            )

    def _check_learner(self) -> None:
        learner = self.learner
        if learner.offload_optimizer and not learner.zero_stage and self.model.dtype == "float32":
            raise ValueError(
                "learner.offload_optimizer: needs learner.zero_stage 1, 2 or 3 in float32; it is 0"
            )
        if learner.lora.broadcast == "adapter" and not learner.lora.rank:
            raise ValueError(
                "learner.lora.broadcast: there is no adapter to send while learner.lora.rank is "
                "0; set it to auto or merged, or the rank above 0"
            )

    def _check_gpus(self) -> None:
        ranks = self.rollout.num_gpus
        if self.rollout.share_gpus and self.learner.num_ranks != ranks:
            raise ValueError(
                "rollout.share_gpus: learner.num_ranks must be rollout.num_actors times "
                f"rollout.tensor_parallel, {ranks}; it is {self.learner.num_ranks}"
            )
        if not self.rollout.overlap:
            return
        if self.rollout.share_gpus:
            raise ValueError(
                "rollout.overlap: engines sample while the learner updates, so they need GPUs of "
                "their own; set rollout.share_gpus to false, or rollout.overlap to 0"
            )
        if not self.learner.max_importance:
            raise ValueError(
                "learner.max_importance: with rollout.overlap tokens are sampled from weights that "
                "are one update old, and importance weights correct for that; set a bound, such "
                "as 2.0"
            )

    def _check_sources(self) -> None:
        task = self.task
        if task.name in ("math", "mbpp") and not (task.train and task.test):
            raise ValueError(f'task.train and task.test: task "{task.name}" needs both to be set')
        if task.name in ("mbpp_r", "humaneval") and not task.test:
            raise ValueError(f'task.test: task "{task.name}" needs it to be set')
        if task.name == "mbpp_r" and not task.attempt_column:
            raise ValueError('task.attempt_column: task "mbpp_r" needs the first program\'s column')

    @property
    def evaluated_attempts(self) -> int:
        """Number of attempts per problem in an evaluation."""
        return self.evaluation.attempts or self.rollout.attempts

    @property
    def iterations(self) -> int:
        """Number of iterations of all stages together."""
        return sum(stage.iterations for stage in self.stages)

    def stage_at(self, iteration: int) -> Stage:
        """Return the stage that an iteration, counted from 0, belongs to."""
        for stage in self.stages:
            if iteration < stage.iterations:
                return stage
            iteration -= stage.iterations
        raise IndexError(f"the run has {self.iterations} iterations")

    def version_at(self, iteration: int) -> int:
        """Return the version of the weights that engines serve when an iteration begins.

        That is the last one broadcast. The number of iterations gives the trained weights.
        """
        start = 0
        for stage in self.stages:
            if iteration < start + stage.iterations:
                return iteration - (iteration - start) % stage.refresh
            start += stage.iterations
        return iteration

    @property
    def num_gpus(self) -> int:
        """Number of GPUs of a run, if it runs on GPUs."""
        shared = self.rollout.share_gpus
        return self.rollout.num_gpus + (0 if shared else self.learner.num_ranks)

    @property
    def sends_adapter(self) -> bool:
        """Whether engines are sent the adapter alone, in place of whole weights."""
        lora = self.learner.lora
        alone = lora.broadcast == "adapter" or (
            lora.broadcast == "auto" and self.model.dtype == "bfloat16"
        )
        return lora.rank > 0 and alone

    def is_ahead(self, iteration: int) -> bool:
        """Return whether an iteration is sampled while the learner updates on the one before.

        After an evaluation or a checkpoint it is not, so that engines and learner hold the same
        weights there: a resumed run is then the same run, and a stage starts from the weights
        that the stage before it left.
        """
        waits = iteration in (0, self.iterations)
        waits = waits or self.is_evaluated(iteration) or self.is_saved(iteration)
        return bool(self.rollout.overlap) and not waits

    def is_served(self, done: int) -> bool:
        """Return whether the weights after `done` updates are broadcast."""
        return self.version_at(done) == done

    def is_evaluated(self, done: int) -> bool:
        """Return whether the test split is evaluated after `done` updates."""
        return done in self.stage_ends() or self._is_due(done, self.evaluation.every)

    def is_saved(self, done: int) -> bool:
        """Return whether a checkpoint is written after `done` updates."""
        return done in self.stage_ends() or self._is_due(done, self.checkpoint.every)

    def _is_due(self, done: int, every: int) -> bool:
        # Engines have to serve these weights, so what falls between two broadcasts waits for the
        # second one.
        if not every or not self.is_served(done):
            return False
        return done // every > self.version_at(done - 1) // every

    def stage_ends(self) -> dict[int, str]:
        """Return each stage's name, by the number of iterations that are done when it ends."""
        done, ends = 0, {}
        for stage in self.stages:
            done += stage.iterations
            ends[done] = stage.name
        return ends
