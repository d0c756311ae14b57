"""Who takes part in a run: builds from checked inputs what the loop talks to, and ends it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from score_ray.config.schema import RecoveryConfig
from score_ray.planning import fit, gpus
from score_ray.planning.model_shape import read_shape
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import TEST
from score_ray.runtime.colocation import Turns
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.placement import Check, Place, places
from score_ray.runtime.remote_calls import Calls, Retries, Tell
from score_ray.runtime.resources import Ask, sharing
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.tasks.model_judge import ReferenceJudge
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.training.inputs import Inputs
from score_ray.training.trainer import Roles
from score_ray.types import Grader, LearnerLost
from score_ray.weights.backend import IPC, OBJECT_STORE, choose_backend
from score_ray.weights.probe import probe_rows


@contextmanager
def all_roles(inputs: Inputs, reporter: Reporter) -> Iterator[Roles]:
    """Start everyone the loop talks to, and end them with it."""
    train, held_out = inputs.training_problems()
    test, memory = inputs.task.problems(TEST), partial(_check_memory, inputs)
    with _places(inputs, *_training_asks(inputs), check=memory) as (for_actors, for_ranks):
        on_gpu = any(place.on_gpu for place in for_ranks)
        backend = _backend(inputs, on_gpu)
        where = for_actors, for_ranks
        pool, learner = _both_ends(inputs, inputs.model, where, reporter.event, backend)
        with _grading(inputs, learner) as grader:
            pool.wait_ready()
            learner.wait_ready()
            channel = _channel(inputs, learner, pool, backend)
            try:
                yield Roles(train, held_out, test, pool, grader, learner, channel, reporter)
            finally:
                reporter.close()


@contextmanager
def sampling_roles(
    inputs: Inputs, model: str, reporter: Reporter
) -> Iterator[tuple[RolloutPool, Grader]]:
    """Rollout actors that serve a model, and who grades; a learner only where it judges."""
    asks = _training_asks(inputs) if inputs.config.grading.judge else [_actors(inputs)]
    with _places(inputs, *asks) as (for_actors, *for_ranks):
        where = for_actors, for_ranks[0] if for_ranks else []
        pool, learner = _both_ends(inputs, model, where, reporter.event, OBJECT_STORE)
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


def _training_asks(inputs: Inputs) -> list[Ask]:
    actors, ranks = _actors(inputs), _ranks(inputs)
    return [sharing(actors, ranks)] if inputs.config.rollout.share_gpus else [actors, ranks]


@contextmanager
def _places(inputs: Inputs, *asks: Ask, check: Check = lambda _: None) -> Iterator[list]:
    own = inputs.config.recovery
    with places(asks, own.cluster, own.start, check) as found:
        yield found


def _check_memory(inputs: Inputs, nodes: list[dict[str, float]]) -> None:
    """A GPU that is too small is named before a model is loaded."""
    # This machine's own is looked at where the cluster does not say: that takes memory there.
    if gpu := gpus.smallest(nodes) or gpus.local():
        fit.check(inputs.config, read_shape(inputs.model, inputs.config.model.path), gpu)


def _backend(inputs: Inputs, on_gpu: bool) -> str:
    config = inputs.config
    shared, alone = config.rollout.share_gpus, config.sends_adapter
    return choose_backend(config.weights.backend, on_gpu, shared, alone)


def _both_ends(
    inputs: Inputs, model: str, where: tuple[list[Place], list[Place]], tell: Tell, backend: str
) -> tuple[Any, Any]:
    """The rollout actors and the learner, which take turns where they share GPUs.

    Without places for it there is no learner.
    """
    for_actors, for_ranks = where
    shared = bool(for_ranks) and for_actors[0].keeper is not None
    pool = _pool(inputs, model, for_actors, tell, backend)
    if shared:
        pool.sleep()  # the ranks need the room to start
    learner = _group(inputs, for_ranks, tell) if for_ranks else None
    if not shared:
        return pool, learner
    turns = Turns(pool, learner, handed_over=backend == IPC)
    return turns.pool, turns.learner


def _pool(
    inputs: Inputs, model: str, where: Sequence[Place], tell: Tell, backend: str
) -> RolloutPool:
    own: RecoveryConfig = inputs.config.recovery
    setup = replace(inputs.engine_setup(), model_folder=model, backend=backend)
    make = setup, inputs.make_prompter
    return RolloutPool(where, make, Calls(own.start, own.grace), Retries(own.retries), tell)


def _group(inputs: Inputs, where: Sequence[Place], tell: Tell) -> LearnerGroup:
    own: RecoveryConfig = inputs.config.recovery
    calls = Calls(own.start, own.grace, LearnerLost)
    return LearnerGroup(where, inputs.learner_setup(), calls, Retries(own.retries), tell)


def _channel(
    inputs: Inputs, learner: LearnerGroup, pool: RolloutPool, backend: str
) -> WeightChannel:
    own, prompter, rollout = inputs.config.weights, inputs.make_prompter(), inputs.config.rollout
    prompts = [prompter.first_ids(p.question) for p in inputs.task.problems("train")[:512]]
    rows = probe_rows(prompts, own.probe_tokens)
    size, busy = int(own.part_mb * 2**20), bool(rollout.share_gpus or rollout.overlap)
    return WeightChannel(learner, pool, rows, own.max_mismatch, size, backend, keep_packed=busy)


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
