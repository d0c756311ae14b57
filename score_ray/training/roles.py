"""Starts the participants of a run from checked inputs, and ends them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from score_ray.planning import fit, gpus
from score_ray.planning.cpu_fit import check_nodes, cpu_demands
from score_ray.planning.model_shape import read_shape
from score_ray.reporting.reporter import Reporter
from score_ray.runtime.colocation import GpuSharing, MakeRoom
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.placement import CheckNodes, Placement, placements
from score_ray.runtime.remote_calls import RecordEvent, RemoteCalls, Retries
from score_ray.runtime.resources import (
    ResourceRequest,
    actor_request,
    rank_request,
    separate,
    training_requests,
)
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.tasks.model_judge import ReferenceJudge
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.training.inputs import Inputs
from score_ray.training.protocols import EpisodeGrader, Roles
from score_ray.types import LearnerLost
from score_ray.weights.backend import IPC, OBJECT_STORE, choose_backend
from score_ray.weights.probe import probe_rows

Note = Callable[[str], None]  # Reporter.note


@contextmanager
def all_roles(inputs: Inputs, reporter: Reporter) -> Iterator[Roles]:
    """Run all participants of a training run while the block runs."""
    train, held_out = inputs.training_problems()
    test, log = inputs.test, _StartLog(reporter.note)
    requests = training_requests(inputs.config)
    with _placements(inputs, requests, log, partial(_check_gpus, inputs)) as reserved:
        for_actors, for_ranks = reserved
        on_gpu = any(placement.on_gpu for placement in for_ranks)
        backend = _backend(inputs, on_gpu)
        both = for_actors, for_ranks
        pool, learner = _pool_and_learner(inputs, inputs.model, both, reporter.event, backend)
        with _grading(inputs, learner) as grader:
            pool.wait_ready()
            log.ready(_counted(len(for_actors), "rollout actor"))
            learner.wait_ready()
            log.ready(_counted(len(for_ranks), "learner rank"))
            channel = _channel(inputs, learner, pool, backend)
            try:
                yield Roles(train, held_out, test, pool, grader, learner, channel, reporter)
            finally:
                reporter.close()


@contextmanager
def sampling_roles(
    inputs: Inputs, model: str, reporter: Reporter
) -> Iterator[tuple[RolloutPool, EpisodeGrader]]:
    """Run rollout actors that serve a model, and a grader; a learner only for its reference."""
    config, log = inputs.config, _StartLog(reporter.note)
    requests = training_requests(config) if config.grading.judge else [actor_request(config)]
    with _placements(inputs, requests, log) as (for_actors, *for_ranks):
        reserved = for_actors, for_ranks[0] if for_ranks else []
        pool, learner = _pool_and_learner(inputs, model, reserved, reporter.event, OBJECT_STORE)
        with _grading(inputs, learner) as grader:
            pool.wait_ready()
            log.ready(_counted(len(for_actors), "rollout actor"))
            yield pool, grader


@contextmanager
def only_learner(
    inputs: Inputs, record_event: RecordEvent, note: Note = lambda _: None
) -> Iterator[LearnerGroup]:
    """Run the learner ranks alone while the block runs."""
    log = _StartLog(note)
    with _placements(inputs, [rank_request(inputs.config)], log) as (for_ranks,):
        learner = _learner_group(inputs, for_ranks, record_event)
        learner.wait_ready()
        log.ready(_counted(len(for_ranks), "learner rank"))
        yield learner


class _StartLog:
    """Says what a run is starting, and how long it took."""

    def __init__(self, note: Note) -> None:
        self._note, self._began = note, time.monotonic()

    def begin(self, what: str) -> None:
        """Say what is being started."""
        self._note(f"starting {what}")

    def ready(self, what: str) -> None:
        """Say what has started, and the seconds since the beginning."""
        self._note(f"{what} ready after {time.monotonic() - self._began:.0f} s")


def _counted(count: int, role: str) -> str:
    return f"{count} {role}{'s' if count != 1 else ''}"


@contextmanager
def _placements(
    inputs: Inputs,
    requests: Sequence[ResourceRequest],
    log: _StartLog,
    check_gpus: CheckNodes = lambda _: None,
) -> Iterator[list]:
    recovery = inputs.config.recovery

    def check(nodes: list[dict[str, float]]) -> None:
        # Called before Ray starts, too, where the machine is known to have no GPU.
        if any(node.get("GPU") for node in nodes):
            check_gpus(nodes)
        else:
            _check_cpus(inputs, requests, nodes)

    with placements(
        requests, recovery.cluster, recovery.start, check, partial(log.begin, "Ray")
    ) as reserved:
        log.ready("Ray")
        log.begin(" and ".join(_counted(one.count, one.role) for one in separate(requests)))
        yield reserved


def _check_gpus(inputs: Inputs, nodes: list[dict[str, float]]) -> None:
    """Raise ConfigError for a GPU that is too small, before a model is loaded."""
    # This machine's GPU is examined only if the cluster reports none, because that takes memory.
    if gpu := gpus.smallest(nodes) or gpus.local():
        fit.check_memory(inputs.config, read_shape(inputs.model, inputs.config.model.path), gpu)


def _check_cpus(
    inputs: Inputs, requests: Sequence[ResourceRequest], nodes: list[dict[str, float]]
) -> None:
    """Raise ConfigError if nodes without GPUs are too few or too small for the processes."""
    wanted = {request.role for request in separate(requests)}
    shape = read_shape(inputs.model, inputs.config.model.path)
    demands = [each for each in cpu_demands(inputs.config, shape) if each.role in wanted]
    check_nodes(demands, nodes)


def _backend(inputs: Inputs, on_gpu: bool) -> str:
    config = inputs.config
    shared, adapter = config.rollout.share_gpus, config.sends_adapter
    return choose_backend(config.weights.backend, on_gpu, shared, adapter)


def _pool_and_learner(
    inputs: Inputs,
    model: str,
    reserved: tuple[list[Placement], list[Placement]],
    record_event: RecordEvent,
    backend: str,
) -> tuple[Any, Any]:
    """Start the rollout actors, and the learner if there are placements for it, else None."""
    for_actors, for_ranks = reserved
    start_pool = partial(_pool, inputs, model, for_actors, record_event, backend)
    start_learner = partial(_learner_group, inputs, for_ranks, record_event)
    if for_ranks and for_actors[0].shared:
        sharing = GpuSharing(start_pool, start_learner, direct=backend == IPC)
        return sharing.pool, sharing.learner
    return start_pool(), start_learner() if for_ranks else None


def _pool(
    inputs: Inputs,
    model: str,
    reserved: Sequence[Placement],
    record_event: RecordEvent,
    backend: str,
    make_room: MakeRoom = lambda: None,
) -> RolloutPool:
    recovery = inputs.config.recovery
    setup = replace(inputs.engine_setup(), model_folder=model, backend=backend)
    actor_args = setup, inputs.make_prompter
    calls, retries = RemoteCalls(recovery.start, recovery.grace), Retries(recovery.retries)
    return RolloutPool(reserved, actor_args, calls, retries, record_event, make_room)


def _learner_group(
    inputs: Inputs, reserved: Sequence[Placement], record_event: RecordEvent
) -> LearnerGroup:
    recovery = inputs.config.recovery
    calls = RemoteCalls(recovery.start, recovery.grace, LearnerLost)
    retries = Retries(recovery.retries)
    return LearnerGroup(reserved, inputs.learner_setup(), calls, retries, record_event)


def _channel(
    inputs: Inputs, learner: LearnerGroup, pool: RolloutPool, backend: str
) -> WeightChannel:
    sync, rollout, prompter = inputs.config.weights, inputs.config.rollout, inputs.make_prompter()
    prompts = [prompter.first_ids(p.question) for p in inputs.train[:512]]
    rows = probe_rows(prompts, sync.probe_tokens)
    part_bytes = int(sync.part_mb * 2**20)
    # In these cases the learner cannot pack its weights again while the engines sample.
    keep_packed = bool(rollout.share_gpus or rollout.overlap)
    bound = sync.max_mismatch
    return WeightChannel(learner, pool, rows, bound, part_bytes, backend, keep_packed)


@contextmanager
def _grading(inputs: Inputs, learner: LearnerGroup | None) -> Iterator[EpisodeGrader]:
    """Run the grader that the config asks for: worker processes, or the reference as judge."""
    grading = inputs.config.grading
    if learner and grading.judge:
        learner.wait_ready()
        yield ReferenceJudge(learner.reference_sums, inputs.judge_question())
        return
    grader = ProcessGrader(inputs.task, grading.num_workers, grading.deadline)
    try:
        yield grader
    finally:
        grader.close()
