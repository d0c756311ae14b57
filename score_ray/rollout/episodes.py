"""Samples episodes without a barrier between first and second attempts.

As soon as an attempt ends, the next attempt of its episode enters the engine's running batch.
No episode waits for the slowest first attempt. The sampled tokens depend on the plan's
seed, the problem and the sample number alone, and not on how episodes are spread over actors.
On a GPU this holds up to rounding, which there depends on the other requests in the batch.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from score_ray.rollout.prompter import Prompter
from score_ray.types import (
    Attempt,
    Completion,
    Engine,
    Episode,
    Finish,
    Problem,
    Request,
    SamplingPlan,
)

Ids = tuple[int, ...]
HEARTBEAT = 2.0  # seconds between signs of life
FEEDBACK = 1  # part of the key and seed of requests for feedback, which others do not have


def derive_seed(*parts: int) -> int:
    """Return a 63-bit seed that depends on its parts (run seed, iteration, problem, ...) alone."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True, slots=True)
class _Running:
    """An unfinished episode: the attempts that it has, and its request in the engine."""

    problem: Problem
    sample: int
    attempts: tuple[Attempt, ...]
    request: Request
    asks_feedback: bool = False
    feedback: str = ""  # that the model gave on the last attempt, if it was asked


def sample(
    engine: Engine, prompter: Prompter, problems: Sequence[Problem], plan: SamplingPlan
) -> Iterator[list[Episode]]:
    """Sample `plan.samples` episodes of each problem; yield lists of those that ended together.

    If none ends for `HEARTBEAT` seconds it yields an empty list, as a sign of life.
    """
    running: dict[str, _Running] = {}

    def start(entry: _Running) -> None:
        running[entry.request.key] = entry
        engine.add(entry.request)

    for problem in problems:
        for entry in _openings(problem, prompter, plan, engine.version):
            start(entry)
    last = time.monotonic()
    while running:
        ended = []
        for completion in engine.step():
            entry = running.pop(completion.key)
            written = _attempt(entry.request, completion, engine.version)
            following = _following(entry, written, prompter, plan)
            if isinstance(following, Episode):
                ended.append(following)
            else:
                start(following)
        if ended or time.monotonic() - last > HEARTBEAT:
            last = time.monotonic()
            yield ended


def _following(
    entry: _Running, written: Attempt, prompter: Prompter, plan: SamplingPlan
) -> "_Running | Episode":
    """Return the episode with its next request after a completion, or the finished episode."""
    problem, number, attempts = entry.problem, entry.sample, entry.attempts
    if entry.asks_feedback:
        ids = prompter.next_prompt(written)
        request = _request(plan, problem, number, attempts, ids)
        return replace(entry, request=request, asks_feedback=False, feedback=written.text)
    attempts = (*attempts, replace(written, feedback=entry.feedback))
    if len(attempts) == plan.attempts:
        return Episode(problem, number, attempts)
    return _next(problem, number, attempts, prompter, plan)


def _next(
    problem: Problem,
    number: int,
    attempts: tuple[Attempt, ...],
    prompter: Prompter,
    plan: SamplingPlan,
) -> _Running:
    """Return the episode with a request for feedback on its last attempt, or for the next one."""
    if prompter.asks_feedback:
        ids = prompter.feedback_prompt(attempts[-1])
        request = _request(plan, problem, number, attempts, ids, FEEDBACK)
        return _Running(problem, number, attempts, request, asks_feedback=True)
    ids = prompter.next_prompt(attempts[-1])
    return _Running(problem, number, attempts, _request(plan, problem, number, attempts, ids))


def _openings(
    problem: Problem, prompter: Prompter, plan: SamplingPlan, version: int
) -> Iterator[_Running]:
    """Yield a problem's episodes with their first request, which follows a given attempt if any."""
    ids = prompter.first_ids(problem.question)
    given = _given(prompter, problem, ids, version)
    for number in range(plan.samples):
        if given:
            yield _next(problem, number, (given,), prompter, plan)
        else:
            yield _Running(problem, number, (), _request(plan, problem, number, (), ids))


def _given(prompter: Prompter, problem: Problem, ids: Ids, version: int) -> Attempt | None:
    """Return the attempt that is given to every episode of a problem, or None."""
    if not problem.given:
        return None
    given_ids = prompter.given_ids(problem.given)
    zeros = (0.0,) * len(given_ids)
    return Attempt(ids, given_ids, zeros, problem.given, Finish.STOP, version, given=True)


def _request(
    plan: SamplingPlan,
    problem: Problem,
    number: int,
    attempts: tuple[Attempt, ...],
    ids: Ids,
    *kind: int,
) -> Request:
    return Request(
        key="/".join(map(str, (problem.index, number, len(attempts), *kind))),
        prompt_ids=ids,
        max_tokens=plan.max_tokens,
        temperature=plan.temperature,
        seed=derive_seed(plan.seed, problem.index, number, len(attempts), *kind),
    )


def _attempt(request: Request, completion: Completion, version: int) -> Attempt:
    return Attempt(
        prompt_ids=request.prompt_ids,
        completion_ids=completion.token_ids,
        logprobs=completion.logprobs,
        text=completion.text,
        finish=completion.finish,
        version=version,
    )
