"""The slots of rollout actors, and the episodes that each of them is still to sample."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from score_ray.runtime.actors import LoadedWeights, RolloutActor
from score_ray.runtime.placement import Placement
from score_ray.types import Episode, Problem
from score_ray.weights.probe import Probe

PackWeights = Callable[[], Sequence[Any]]  # returns references to the weights in parts


@dataclass(frozen=True)
class CurrentWeights:
    """The weights that every engine is to serve, and the probe that engines are checked with."""

    version: int
    probe: Probe
    pack: PackWeights  # packs at its first call, and returns the same parts later


class SlotState(Enum):
    """The state of a slot, which says whether its actor can sample."""

    STARTING = "starting"  # it has not answered all calls that it needs before it can sample
    SERVING = "serving"


class RolloutSlot:
    """The place of one rollout actor: when its process is lost, another one takes the slot."""

    def __init__(self, number: int, placement: Placement, actor_args: tuple) -> None:
        self.name = f"rollout actor {number}"
        self._placement, self._actor_args = placement, actor_args
        self.lost_at = 0.0  # when the last process was lost; 0 if none was

    def start(self, weights: LoadedWeights | None) -> None:
        """Start a process that loads these weights, or keeps the base model without any."""
        self.actor: Any = self._placement.start(RolloutActor, *self._actor_args)
        self.unanswered = [self.actor.join.remote(weights, self._placement.visible_gpus())]
        self.heard_at = time.monotonic()

    @property
    def state(self) -> SlotState:
        """STARTING until the actor has answered every call that it started with, then SERVING."""
        return SlotState.STARTING if self.unanswered else SlotState.SERVING


class SampleCall:
    """The state of one call of `sample`: which episodes are missing, and who samples them."""

    def __init__(self, problems: Sequence[Problem], samples: int) -> None:
        self.missing = {(problem.index, n) for problem in problems for n in range(samples)}
        self.unassigned = list(problems)
        self.streams: dict[Any, tuple[RolloutSlot, Sequence[Problem]]] = {}

    @classmethod
    def nothing(cls) -> "SampleCall":
        """Return a call without episodes, for waiting for actors alone."""
        return cls([], 0)

    def take(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Return those episodes that have not arrived before, and mark them as done."""
        fresh = [e for e in episodes if (e.problem.index, e.sample) in self.missing]
        self.missing -= {(e.problem.index, e.sample) for e in fresh}
        return fresh

    def release(self, slot: RolloutSlot) -> None:
        """Take a slot's unfinished problems back, to be assigned to others."""
        unfinished = {index for index, _ in self.missing}
        for stream in [s for s, (owner, _) in self.streams.items() if owner is slot]:
            _, share = self.streams.pop(stream)
            self.unassigned += [problem for problem in share if problem.index in unfinished]

    def busy(self) -> set[RolloutSlot]:
        """Return the slots that are sampling."""
        return {slot for slot, _ in self.streams.values()}
