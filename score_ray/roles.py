"""Who takes part in a run: builds from checked inputs what the loop talks to, and ends it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from score_ray.inputs import Inputs
from score_ray.judge import ReferenceJudge
from score_ray.loop import Roles
from score_ray.placement import Channel, LearnerGroup, RolloutPool, start_ray, stop_ray
from score_ray.report import Reporter
from score_ray.types import Grader
from score_ray.verify import ProcessGrader
from score_ray.weights.probe import probe_rows


@contextmanager
def all_roles(inputs: Inputs, reporter: Reporter) -> Iterator[Roles]:
    """Start everyone the loop talks to, and end them with it."""
    config, task = inputs.config, inputs.task
    train, test = task.problems("train"), task.problems("test")
    with sampling(inputs, inputs.model) as pool:
        learner = learner_group(inputs)
        prompter = inputs.make_prompter()
        prompts = [prompter.first_ids(p.question) for p in train[:512]]
        probe = probe_rows(prompts, config.weights.probe_tokens)
        channel = Channel(learner, pool, probe, config.weights.max_mismatch)
        with grading(inputs, learner) as grader:
            pool.wait_ready()
            learner.wait_ready()
            try:
                yield Roles(train, test, pool, grader, learner, channel, reporter)
            finally:
                reporter.close()


@contextmanager
def sampling(inputs: Inputs, model: str) -> Iterator[RolloutPool]:
    """Ray, and rollout actors that serve a model; their engines are still starting."""
    options = replace(inputs.engine_options(), model=model)
    start_ray()
    try:
        yield RolloutPool(inputs.config.rollout.num_actors, options, inputs.make_prompter)
    finally:
        stop_ray()


@contextmanager
def grading(inputs: Inputs, learner: LearnerGroup | None) -> Iterator[Grader]:
    """The process pool that judges answers, or the learner's reference where the config says."""
    own = inputs.config.grading
    if own.judge:
        judges = learner or learner_group(inputs)
        judges.wait_ready()
        yield ReferenceJudge(judges.reference_sums, inputs.judge_question())
        return
    grader = ProcessGrader(inputs.task, own.num_workers, own.deadline)
    yield grader
    grader.close()


def learner_group(inputs: Inputs) -> LearnerGroup:
    """The learner's ranks; they are still starting."""
    own = inputs.config.learner
    return LearnerGroup(own.num_ranks, inputs.learner_options(), own.tokens_per_micro_batch)
