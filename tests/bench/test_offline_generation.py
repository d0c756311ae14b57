"""Offline generation asks the engine for the same prompts and lengths, one attempt at a time."""

import pytest

from score_ray.bench.offline_generation import offline_seconds
from score_ray.types import Attempt, Episode, Finish, Problem


class LoggingEngine:
    """Logs its calls; each one takes two seconds of a clock that nothing else moves."""

    def __init__(self) -> None:
        self.calls: list = []
        self.now = 0.0

    def reset_prefix_cache(self) -> None:
        self.now += 2.0
        self.calls.append("reset")

    def generate_to_lengths(self, prompts, lengths) -> None:
        from score_ray.rollout.engine import VllmEngine

        VllmEngine.generate_to_lengths(self, prompts, lengths)  # type: ignore[arg-type]

    def generate(self, prompts, params) -> None:
        self.now += 2.0
        self.calls.append((prompts, [(p.max_tokens, p.ignore_eos) for p in params]))


def episode(index: int, first: tuple[int, ...], second: tuple[int, ...]) -> Episode:
    def attempt(prompt: tuple[int, ...], completion: tuple[int, ...]) -> Attempt:
        logprobs = (0.0,) * len(completion)
        return Attempt(prompt, completion, logprobs, "", Finish.STOP, version=0)

    problem = Problem(index, f"question {index}", "answer")
    attempts = attempt((index,), first), attempt((index, *first, 9), second)
    return Episode(problem, 0, attempts)


def test_every_attempt_is_generated_to_its_length_and_the_reset_is_not_timed(monkeypatch):
    engine = LoggingEngine()
    monkeypatch.setattr("time.perf_counter", lambda: engine.now)
    episodes = [episode(1, (4, 5), (6,)), episode(2, (7,), (8, 8, 8))]
    assert offline_seconds(engine, episodes) == 4.0  # type: ignore[arg-type]
    assert engine.calls == [
        "reset",
        ([(1,), (2,)], [(2, True), (1, True)]),
        ([(1, 4, 5, 9), (2, 7, 9)], [(1, True), (3, True)]),
    ]


@pytest.mark.parametrize("episodes", [[], ()])
def test_an_actor_without_episodes_takes_no_time(episodes):
    engine = LoggingEngine()
    assert offline_seconds(engine, episodes) == 0.0  # type: ignore[arg-type]
    assert engine.calls == []
