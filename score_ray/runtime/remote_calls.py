"""Remote calls that end: with answers, or with the name of who was lost.

What a call may take is learned: the slowest call of its kind so far, in seconds per unit of
work, and a grace beyond it. The first of its kind has a deadline of its own.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from score_ray.types import LearnerLost, PeerLost, ProcessLost, RunError

STARTING = "starting"  # takes what caches and neighbours let it take: nothing is learned from it
# A rank whose peer died often fails before Ray has noticed the death itself.
SETTLE_SECONDS = 10.0

Tell = Callable[..., None]  # of the Reporter: event(kind, who, what, **numbers)


class Calls:
    """Deadlines for one role's remote calls; `lost` is what it raises for a lost process."""

    def __init__(self, start: float, grace: float, lost: type[ProcessLost] = ProcessLost) -> None:
        self._start, self._grace, self._lost = start, grace, lost
        self._pace: dict[str, float] = {}

    def allowed(self, doing: str, work: float = 1.0) -> float:
        """Seconds that a call of this kind may take."""
        pace = self._pace.get(doing)
        return self._start if pace is None else pace * work + self._grace

    def took(self, doing: str, seconds: float, work: float = 1.0) -> None:
        """Learn from a call that has ended."""
        if doing == STARTING:
            return
        self._pace[doing] = max(self._pace.get(doing, 0.0), seconds / max(work, 1.0))

    def late(self, who: str, doing: str, work: float = 1.0) -> ProcessLost:
        """The error for a process that has used up its time."""
        return self._lost(who, doing, f"no sign of life for {self.allowed(doing, work):.0f} s")

    def fetch(self, ref: Any, who: str, doing: str) -> Any:
        """The value of a finished call; raise what it raised, or that its process is gone.

        What is missed from the learner's side, by whomever, is LearnerLost.
        """
        try:
            return ray.get(ref, timeout=self._start)
        except GetTimeoutError:
            raise self._lost(who, doing, "its answer could not be fetched") from None
        except PeerLost as error:
            # What Ray raises in its place carries the traceback of the other side as its text.
            raise LearnerLost(who, doing, str(getattr(error, "cause", error))) from None
        except RayTaskError:
            raise
        except RayError:
            raise self._lost(who, doing, "the process died") from None

    def gather(
        self,
        doing: str,
        refs: Mapping[str, Any],
        work: float = 1.0,
        began: float | None = None,
        spare: float = 0.0,
    ) -> list:
        """All answers, in the order of `refs`: from names to calls, in progress since `began`.

        `spare`: seconds beyond what is allowed, for processes that hold to that themselves.
        Raises the role's Lost for the first process that died or is late: of several, one
        that is dead itself is named before one that only missed it.
        """
        began, limit = began or time.monotonic(), self.allowed(doing, work) + spare
        waiting = {ref: who for who, ref in refs.items()}
        answers: dict[str, Any] = {}
        missed: ProcessLost | None = None
        while waiting:
            left = began + limit - time.monotonic()
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=max(left, 0.0))
            if not ready:
                raise missed or self.late(" and ".join(waiting.values()), doing, work)
            who = waiting.pop(ready[0])
            try:
                answers[who] = self.fetch(ready[0], who, doing)
            except self._lost as lost:
                if isinstance(lost.__context__, PeerLost) and missed is None:
                    missed, limit = lost, time.monotonic() - began + SETTLE_SECONDS
                elif not isinstance(lost.__context__, PeerLost):
                    raise
        if missed:
            raise missed
        self.took(doing, time.monotonic() - began, work)
        return [answers[who] for who in refs]


class Retries:
    """How often in a row something lost may be replaced without getting further."""

    def __init__(self, allowed: int) -> None:
        self._allowed = self._left = allowed

    def spend(self, lost: ProcessLost) -> None:
        """Use one up; raise RunError if none is left."""
        if not self._left:
            raise RunError(
                f"{lost}; given up after {self._allowed} replacements in a row (recovery.retries)"
            ) from lost
        self._left -= 1

    def refill(self) -> None:
        """Something was completed."""
        self._left = self._allowed
