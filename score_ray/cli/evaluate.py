"""`score-ray eval`: evaluate the trained model of a run folder."""

from score_ray.cli.arguments import FolderOfRun, Overrides, refuse_unused
from score_ray.cli.terminal import show_results

# A greedy evaluation is the same for every seed; `learner` is used by grading.judge alone.
OF_TRAINING = (
    "name", "seed", "stages", "weights", "checkpoint", "rollout.problems", "rollout.samples",
    "rollout.temperature", "rollout.offline_share", "rollout.overlap", "evaluation.every",
    "evaluation.held_out",
)  # fmt: skip


def evaluate(folder: FolderOfRun, overrides: Overrides = None) -> None:
    """Evaluate the trained model of a run folder on its test problems, greedily."""
    from score_ray.reporting.run_folder import TEST, RunFolder

    run = RunFolder(folder)
    config = run.config(overrides or [])
    without_judge = () if config.grading.judge else ("learner",)
    refuse_unused("eval", overrides, [*OF_TRAINING, *without_judge])
    model = run.trained_model()

    from score_ray.reporting.metrics import eval_record
    from score_ray.reporting.reporter import Reporter
    from score_ray.training import iteration
    from score_ray.training.input_record import note_on_test, refuse_other_model
    from score_ray.training.inputs import check_inputs, check_trained_model
    from score_ray.training.model_source import CACHE
    from score_ray.training.roles import sampling_roles

    inputs = check_inputs(config, CACHE, [TEST])
    check_trained_model(run.path, model)
    if config.grading.judge:
        refuse_other_model(run, inputs)
    reporter = Reporter(run.evaluation, 0, 0)
    if note := note_on_test(run, inputs):
        reporter.note(f"note: {note}")
    updates = run.model_updates
    # The model is sampled from; a reference that judges stays the base model.
    with sampling_roles(inputs, str(model.absolute()), reporter) as (pool, grader):
        graded = iteration.evaluate(pool, grader, inputs.test, config)
        reporter.answers(graded, updates)
        reporter.evaluation(eval_record(graded, updates, config.task.name, TEST), "model")
    show_results(run.evaluation)
