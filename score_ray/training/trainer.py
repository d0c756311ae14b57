"""Runs the training loop: sample, grade, score, update, broadcast; evaluate and save in between.

The loop imports no Ray, vLLM or DeepSpeed, and also runs with fakes of its participants. It does
not know stages by name: a stage is a set of coefficients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from score_ray.algorithm.batch import row_of
from score_ray.algorithm.finite import refuse_non_finite
from score_ray.algorithm.kl_controller import adapt_coefficients
from score_ray.algorithm.metrics import measure_episodes, training_accuracies
from score_ray.algorithm.objective import RewardCoefficients
from score_ray.algorithm.training_batch import LEARNING_METHODS, GradedBatch, TrainingBatch
from score_ray.config.config import Config
from score_ray.reporting.metrics import StepResult, eval_record
from score_ray.reporting.run_folder import HELD_OUT, TEST, RunFolder
from score_ray.training import checkpoint
from score_ray.training.checkpoint import Checkpoint, Progress
from score_ray.training.checkpoint_selection import best
from score_ray.training.collector import Collector
from score_ray.training.failed_measurements import refuse_failed_iteration
from score_ray.training.first_attempts import (
    offline_part,
    sample_first_attempts,
    texts_of,
    with_given,
)
from score_ray.training.iteration import Clock, draw, evaluate, sampled_sums, training_plan
from score_ray.training.protocols import Roles
from score_ray.types import (
    BroadcastResult,
    GradedEpisode,
    LearnerLost,
    Problem,
    RunError,
    UpdateResult,
)


class Trainer:
    """The trainer of a run: it calls the participants, and writes the run folder."""

    def __init__(self, roles: Roles, config: Config, folder: RunFolder) -> None:
        self._roles, self._config, self._folder = roles, config, folder

    def train(self, saved: Checkpoint | None) -> None:
        """Run all iterations after a checkpoint, or after the base model.

        After the loss of a learner rank, the run goes back to the newest checkpoint and repeats
        the iterations after it.
        """
        lost: LearnerLost | None = None
        while True:
            try:
                if lost:
                    saved = self._recover(lost)
                if saved:
                    self._roles.learner.restore(saved.path)
                self.run(saved.progress if saved else Progress())
                return
            except LearnerLost as error:
                lost = error

    def run(self, progress: Progress) -> None:
        """Run the iterations after `progress`, and write the trained model into the run folder."""
        roles, config = self._roles, self._config
        roles.channel.broadcast(progress.iteration)
        if progress.iteration == 0:
            self._evaluate_test(0, "base")
        given = self._first_attempts(progress)
        with self.collector(given) as collector:
            while progress.iteration < config.iterations:
                result = self.step(collector, progress.iteration, self._kl_coefficients(progress))
                roles.reporter.iteration(result)
                progress = self._after(progress, result)
                if config.is_evaluated(progress.iteration):
                    self._evaluate_test(progress.iteration, self._label(progress.iteration))
                if config.is_saved(progress.iteration):
                    progress = self._save(progress)
        trained = self._restore_selected(progress)
        roles.learner.export(self._folder.model)
        self._folder.write_model_updates(trained)

    def step(self, collector: Collector, iteration: int, kl: Sequence[float] = ()) -> StepResult:
        """Make one iteration: collect episodes, update the policy, broadcast it.

        `kl` are the KL coefficients, by default the stage's.
        """
        roles, config, clock = self._roles, self._config, Clock()
        stage = config.stage_at(iteration)
        collector.sample(iteration)
        clock.lap("rollout")
        episodes = collector.graded(iteration)
        clock.lap("grade")
        self._refuse_failed(episodes)
        if config.is_ahead(iteration + 1):
            collector.begin(iteration + 1)
        graded = self._scored(episodes)
        clock.lap("reference")
        coefficients = RewardCoefficients(stage.reward, stage.bonus, tuple(kl or stage.kl))
        batch = LEARNING_METHODS[stage.learn](graded, coefficients, stage.keep)
        update = self._update(batch, iteration)
        clock.lap("update")
        collector.wait()
        clock.lap("rollout")
        broadcast = self._broadcast(iteration + 1)
        clock.lap("broadcast")
        roles.reporter.generations(episodes[:: config.rollout.samples], iteration, limit=2)
        return self._result(iteration, graded, coefficients, batch, update, broadcast, clock)

    def collector(self, given: Mapping[int, str] | None = None) -> Collector:
        """Return a collector of episodes of the training problems.

        `given` has the base model's first attempts by problem index, for the offline share.
        """
        rollout = self._config.rollout

        def problems_of(iteration: int) -> list[Problem]:
            return with_given(self._problems(iteration), given or {}, rollout.offline_share)

        return Collector(self._roles.pool, self._roles.grader, problems_of, self._config)

    def _broadcast(self, done: int) -> BroadcastResult | None:
        """Send the weights after `done` updates to the engines, if the config says so."""
        return self._roles.channel.broadcast(done) if self._config.is_served(done) else None

    def _result(
        self,
        iteration: int,
        graded: GradedBatch,
        coefficients: RewardCoefficients,
        batch: TrainingBatch,
        update: UpdateResult,
        broadcast: BroadcastResult | None,
        clock: Clock,
    ) -> StepResult:
        """Return the result of a finished iteration."""
        config, sampled_version = self._config, graded.episodes[0].episode.attempts[-1].version
        return StepResult(
            iteration=iteration,
            stage=config.stage_at(iteration).name,
            version=config.version_at(iteration + 1),
            stale=config.version_at(iteration) - sampled_version,
            accuracies=training_accuracies(graded.episodes),
            episodes=measure_episodes(graded.episodes),
            kl=tuple(map(float, graded.kl.mean(axis=0))),
            kl_coefficients=coefficients.kl,
            update=update,
            broadcast=broadcast,
            rollout_restarts=self._roles.pool.take_restarts(),
            learner_restarts=self._roles.learner.take_restarts(),
            trained_rows=len(batch.rows) if batch.advantages.any() else 0,
            trained_tokens=sum(len(row.token_ids) for row in batch.rows),
            seconds=clock.done(),
        )

    def _update(self, batch: TrainingBatch, iteration: int) -> UpdateResult:
        """Update the policy; raise RunError if the loss or the gradient is not finite."""
        update = self._roles.learner.update(batch.rows, batch.advantages, iteration)
        numbers = {"the loss": [update.loss], "the norm of the gradient": [update.grad_norm]}
        refuse_non_finite(numbers, f"in iteration {iteration}", iteration)
        return update

    def _refuse_failed(self, graded: Sequence[GradedEpisode]) -> None:
        """Raise RunError if so many measurements failed that the run must not go on."""
        most, fault = self._config.grading.max_failed, self._roles.grader.fault
        refuse_failed_iteration(measure_episodes(graded), self._folder.steps, most, fault)

    def _recover(self, lost: LearnerLost) -> Checkpoint | None:
        """Restart the learner, delete the records after the newest checkpoint, and return it."""
        roles = self._roles
        roles.grader.forget()
        saved = checkpoint.newest(self._folder.checkpoints, roles.reporter.checkpoint_fault)
        roles.learner.restart(lost)
        roles.reporter.rewind(saved.progress.iteration if saved else 0)
        return saved

    def _problems(self, iteration: int) -> list[Problem]:
        config = self._config
        weights = config.task.weights
        return draw(self._roles.train, config.rollout.problems, config.seed, iteration, weights)

    def _scored(self, episodes: Sequence[GradedEpisode]) -> GradedBatch:
        """Return episodes with their rows, and the log-ratios to the reference as KL."""
        rollout = self._config.rollout
        rows = [row_of(graded.episode) for graded in episodes]
        sampled = sampled_sums(episodes)
        reference = self._roles.learner.reference_sums(rows, rollout.attempts)
        numbers = {"log-probs of the sampler": sampled, "log-probs of the reference": reference}
        flat = {name: sums.ravel() for name, sums in numbers.items()}
        version = episodes[0].episode.attempts[-1].version
        refuse_non_finite(flat, "in an iteration's episodes", version)
        return GradedBatch(episodes, rows, sampled - reference, rollout.samples)

    def _kl_coefficients(self, progress: Progress) -> tuple[float, ...]:
        """Return the adapted KL coefficients, or those of the stage at its first iteration."""
        if progress.iteration in self._config.stage_ends() or not progress.kl:
            return self._config.stage_at(progress.iteration).kl
        return progress.kl

    def _after(self, progress: Progress, result: StepResult) -> Progress:
        """Return the progress after an iteration, with the next KL coefficients."""
        stage = self._config.stage_at(result.iteration)
        kl = adapt_coefficients(result.kl_coefficients, result.kl, stage.kl_target, stage.kl)
        return replace(progress, iteration=result.iteration + 1, kl=kl)

    def _label(self, done: int) -> str:
        """Return a name of the weights after `done` updates: the stage that ends there, if any."""
        return self._config.stage_ends().get(done, f"iteration {done}")

    def _evaluate_test(self, done: int, label: str) -> None:
        """Evaluate the served weights on the test split, and record the result."""
        problems = self._roles.test[: self._config.evaluation.problems]
        graded = evaluate(self._roles.pool, self._roles.grader, problems, self._config)
        self._roles.reporter.answers(graded, done)
        self._record_evaluation(graded, done, TEST, label)

    def _evaluate_held_out(self, done: int) -> None:
        """Evaluate the served weights on the held-out problems, and record the result."""
        problems = self._roles.held_out
        graded = evaluate(self._roles.pool, self._roles.grader, problems, self._config)
        self._record_evaluation(graded, done, HELD_OUT, f"held out, iteration {done}")

    def _record_evaluation(
        self, graded: Sequence[GradedEpisode], done: int, split: str, label: str
    ) -> None:
        record = eval_record(graded, done, self._config.task.name, split)
        self._roles.reporter.evaluation(record, label)

    def _save(self, progress: Progress) -> Progress:
        """Save a checkpoint; keep the newest ones and the best so far; return the new progress."""
        progress = replace(progress, saved=(*progress.saved, progress.iteration))
        if self._roles.held_out:
            self._evaluate_held_out(progress.iteration)
        checkpoint.save(
            self._folder.checkpoints,
            progress,
            self._roles.learner.save,
            self._config.checkpoint.keep,
            self._selected(progress),
        )
        return progress

    def _restore_selected(self, progress: Progress) -> int:
        """Go back to the checkpoint that the config selects, and evaluate it.

        Return the updates that the learner's weights have seen then. Raises RunError if the
        checkpoint cannot be read.
        """
        selected = self._selected(progress)
        if selected is None or selected >= self._config.iterations:
            return progress.iteration
        try:
            source = checkpoint.find(self._folder.checkpoints, selected)
        except FileNotFoundError as error:
            hint = "checkpoint.select=last ends the run with its last weights"
            raise RunError(f"the best checkpoint is lost: {error}; {hint}") from error
        self._roles.learner.restore(source)
        self._roles.channel.broadcast(selected)
        self._evaluate_test(selected, f"selected, iteration {selected}")
        return selected

    def _selected(self, progress: Progress) -> int | None:
        """Return the best checkpoint ever saved; None if the config selects the last weights."""
        by = self._config.checkpoint.select
        if by == "last":
            return None
        steps, evals = self._folder.steps(), self._folder.evals()
        return best(by, steps, evals, progress.saved, self._config.stages)

    def _first_attempts(self, progress: Progress) -> dict[int, str]:
        """Return the base model's first attempts by problem index.

        They are sampled before the first update, while the engines serve the base model.
        """
        config = self._config
        share = config.rollout.offline_share
        if not share:
            return {}
        parts = (offline_part(self._problems(i), share) for i in range(config.iterations))
        planned = [problem for part in parts for problem in part]
        if progress.iteration == 0:
            plan = training_plan(config, config.iterations)
            records = sample_first_attempts(self._roles.pool, planned, plan)
            self._folder.write_first_attempts(records)
        return texts_of(self._folder.first_attempts(), planned)
