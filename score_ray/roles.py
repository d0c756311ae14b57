"""Who takes part in a run: builds from checked inputs what the loop talks to, and ends it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from score_ray.inputs import Inputs
from score_ray.judge import ReferenceJudge
from score_ray.loop import Roles
from score_ray.placement.calls import Calls, Retries, Tell
from score_ray.placement.channel import Channel
from score_ray.placement.cluster import Place, places
from score_ray.placement.group import LearnerGroup
from score_ray.placement.plan import Ask
from score_ray.placement.pool import RolloutPool
from score_ray.report import Reporter
from score_ray.sections import Recovery
from score_ray.types import Grader, LearnerLost
from score_ray.verify import ProcessGrader
from score_ray.weights.probe import probe_rows


@contextmanager
def all_roles(inputs: Inputs, reporter: Reporter) -> Iterator[Roles]:
    """Start everyone the loop talks to, and end them with it."""
    train, held_out = inputs.training_problems()
    test = inputs.task.problems("test")
    with _places(inputs, _ranks(inputs), _actors(inputs)) as (for_ranks, for_actors):
        pool = _pool(inputs, inputs.model, for_actors, reporter.event)
        learner = _group(inputs, for_ranks, reporter.event)
        with _grading(inputs, learner) as grader:
            pool.wait_ready()
            learner.wait_ready()
            channel = _channel(inputs, learner, pool)
            try:
                yield Roles(train, held_out, test, pool, grader, learner, channel, reporter)
            finally:
                reporter.close()


@contextmanager
def sampling_roles(
    inputs: Inputs, model: str, reporter: Reporter
) -> Iterator[tuple[RolloutPool, Grader]]:
    """Rollout actors that serve a model, and who grades; a learner only where it judges."""
    asks = [_actors(inputs), *([_ranks(inputs)] if inputs.config.grading.judge else [])]
    with _places(inputs, *asks) as (for_actors, *for_ranks):
        pool = _pool(inputs, model, for_actors, reporter.event)
        learner = _group(inputs, for_ranks[0], reporter.event) if for_ranks else None
        with _grading(inputs, learner) as grader:
            pool.wait_ready()
            yield pool, grader


@contextmanager
def learner_alone(inputs: Inputs, tell: Tell) -> Iterator[LearnerGroup]:
    """The learner's ranks, ready."""
    with _places(inputs, _ranks(inputs)) as (for_ranks,):
        learner = _group(inputs, for_ranks, tell)
        learner.wait_ready()
        yield learner


def _actors(inputs: Inputs) -> Ask:
    own = inputs.config.rollout
    return Ask("rollout actor", own.num_actors, own.tensor_parallel)


def _ranks(inputs: Inputs) -> Ask:
    return Ask("learner rank", inputs.config.learner.num_ranks)


@contextmanager
def _places(inputs: Inputs, *asks: Ask) -> Iterator[list[list[Place]]]:
    own = inputs.config.recovery
    with places(asks, own.cluster, own.start) as found:
        yield found


def _pool(inputs: Inputs, model: str, where: Sequence[Place], tell: Tell) -> RolloutPool:
    own: Recovery = inputs.config.recovery
    make = replace(inputs.engine_options(), model=model), inputs.make_prompter
    return RolloutPool(where, make, Calls(own.start, own.grace), Retries(own.retries), tell)


def _group(inputs: Inputs, where: Sequence[Place], tell: Tell) -> LearnerGroup:
    own: Recovery = inputs.config.recovery
    calls = Calls(own.start, own.grace, LearnerLost)
    budget = inputs.config.learner.tokens_per_micro_batch
    options = inputs.learner_options()
    return LearnerGroup(where, options, budget, calls, Retries(own.retries), tell)


def _channel(inputs: Inputs, learner: LearnerGroup, pool: RolloutPool) -> Channel:
    own, prompter = inputs.config.weights, inputs.make_prompter()
    prompts = [prompter.first_ids(p.question) for p in inputs.task.problems("train")[:512]]
    rows = probe_rows(prompts, own.probe_tokens)
    return Channel(learner, pool, rows, own.max_mismatch, int(own.part_mb * 2**20))


@contextmanager
def _grading(inputs: Inputs, learner: LearnerGroup | None) -> Iterator[Grader]:
    """The process pool that judges answers, or the learner's reference where the config says."""
    own = inputs.config.grading
    if learner and own.judge:
        learner.wait_ready()
        yield ReferenceJudge(learner.reference_sums, inputs.judge_question())
        return
    grader = ProcessGrader(inputs.task, own.num_workers, own.deadline)
    try:
        yield grader
    finally:
        grader.close()
