"""`score-ray eval`: evaluate the trained model of a run folder."""

from score_ray.cli.arguments import FolderOfRun, Overrides, refuse_unused
from score_ray.cli.terminal import show_results

# A greedy evaluation is the same for every seed.
OF_TRAINING = (
    "name", "seed", "stages", "weights", "checkpoint", "rollout.problems", "rollout.samples",
    "rollout.temperature", "rollout.offline_share", "rollout.overlap", "evaluation.every",
    "evaluation.held_out",
)  # fmt: skip
OF_JUDGE = ("learner", "model.path")  # the reference is the base model


def evaluate(folder: FolderOfRun, overrides: Overrides = None) -> None:
    """Evaluate the trained model of a run folder on its test problems, greedily."""
    from score_ray.reporting.run_folder import TEST, RunFolder

    run = RunFolder(folder)
    config = run.config(overrides or [])
    unused = OF_TRAINING if config.grading.judge else (*OF_TRAINING, *OF_JUDGE)
    refuse_unused("eval", overrides, unused)
    model = run.trained_model()
    if not config.grading.judge:  # then the base model may be gone
        config = run.config([*(overrides or []), f"model.path={model.absolute()}"])

    from score_ray.reporting.metrics import eval_record
    from score_ray.reporting.reporter import Reporter
    from score_ray.training import iteration
    from score_ray.training.input_record import note_on_test, refuse_other_model
    from score_ray.training.inputs import check_inputs, check_trained_model
    from score_ray.training.model_source import CACHE
    from score_ray.training.roles import sampling_roles

    check_trained_model(run.path, model)
    inputs = check_inputs(config, CACHE, [TEST])
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
