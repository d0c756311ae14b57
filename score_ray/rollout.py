"""Sampling episodes: every attempt follows the one before it without a barrier.

As soon as one attempt ends, the next attempt of its episode enters the engine's running
batch; nobody waits for the slowest first attempt. What is drawn depends on the plan's seed,
the problem and the sample number alone, not on how episodes are spread over actors.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from score_ray.prompts import Prompter
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
BEAT = 2.0  # seconds between signs of life


def derive_seed(*parts: int) -> int:
    """A 63-bit seed as a pure function of its parts (run seed, iteration, problem, ...)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True, slots=True)
class _Running:
    """An episode in the engine: the attempts it has, and the request for the next one."""

    problem: Problem
    sample: int
    attempts: tuple[Attempt, ...]
    request: Request


def sample(
    engine: Engine, prompter: Prompter, problems: Sequence[Problem], plan: SamplingPlan
) -> Iterator[list[Episode]]:
    """Draw `plan.samples` episodes of each problem; yield those that ended together.

    Where none end for a while it yields an empty list, as a sign of life.
    """
    running: dict[str, _Running] = {}

    def start(problem: Problem, number: int, attempts: tuple[Attempt, ...], ids: Ids) -> None:
        entry = _Running(problem, number, attempts, _request(plan, problem, number, attempts, ids))
        running[entry.request.key] = entry
        engine.add(entry.request)

    for problem in problems:
        attempts, ids = _opening(prompter, problem, engine.version)
        for number in range(plan.samples):
            start(problem, number, attempts, ids)
    last = time.monotonic()
    while running:
        ended = []
        for completion in engine.step():
            entry = running.pop(completion.key)
            attempts = (*entry.attempts, _attempt(entry.request, completion, engine.version))
            if len(attempts) < plan.attempts:
                start(entry.problem, entry.sample, attempts, prompter.next_prompt(attempts[-1]))
            else:
                ended.append(Episode(entry.problem, entry.sample, attempts))
        if ended or time.monotonic() - last > BEAT:
            last = time.monotonic()
            yield ended


def _opening(prompter: Prompter, problem: Problem, version: int) -> tuple[tuple[Attempt, ...], Ids]:
    """What a problem's episodes start with: the attempt that is given, if any, and a prompt."""
    ids = prompter.first_ids(problem.question)
    if not problem.given:
        return (), ids
    words = prompter.given_ids(problem.given)
    zeros = (0.0,) * len(words)
    first = Attempt(ids, words, zeros, problem.given, Finish.STOP, version, given=True)
    return (first,), prompter.next_prompt(first)


def _request(
    plan: SamplingPlan, problem: Problem, number: int, attempts: tuple[Attempt, ...], ids: Ids
) -> Request:
    return Request(
        key=f"{problem.index}/{number}/{len(attempts)}",
        prompt_ids=ids,
        max_tokens=plan.max_tokens,
        temperature=plan.temperature,
        seed=derive_seed(plan.seed, problem.index, number, len(attempts)),
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
