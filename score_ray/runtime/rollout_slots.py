"""Where rollout actors sit, and who of them owes which episodes."""

import time
from collections.abc import Sequence
from typing import Any

from score_ray.runtime.actors import RolloutActor
from score_ray.runtime.placement import Place
from score_ray.types import Episode, Problem


class Seat:
    """A place among the rollout actors, and who is in it now."""

    def __init__(self, number: int, place: Place, make: tuple) -> None:
        self.who, self._place, self._make = f"rollout actor {number}", place, make
        self.lost_at = 0.0  # 0: has the actor it began with

    def fill(self, weights: tuple | None) -> None:
        """Put a new actor in; it serves when all calls in `joining` have been answered."""
        self.actor: Any = self._place.start(RolloutActor, *self._make)
        self.joining: list[Any] = [self.actor.join.remote(weights, self._place.visible())]
        self.seen = time.monotonic()


class Round:
    """One call of `sample`: which episodes are missing, and who owes them."""

    def __init__(self, problems: Sequence[Problem], samples: int) -> None:
        self.missing = {(problem.index, n) for problem in problems for n in range(samples)}
        self.undealt = list(problems)
        self.streams: dict[Any, tuple[Seat, Sequence[Problem]]] = {}

    def take(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Those of the episodes that have not come before."""
        fresh = [e for e in episodes if (e.problem.index, e.sample) in self.missing]
        self.missing -= {(e.problem.index, e.sample) for e in fresh}
        return fresh

    def release(self, seat: Seat) -> None:
        """Nobody owes any more what this seat does."""
        owing = {index for index, _ in self.missing}
        for stream in [s for s, (owner, _) in self.streams.items() if owner is seat]:
            _, share = self.streams.pop(stream)
            self.undealt += [problem for problem in share if problem.index in owing]

    def busy(self) -> set[Seat]:
        """The seats that owe something."""
        return {seat for seat, _ in self.streams.values()}
