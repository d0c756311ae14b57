"""Remote calls with deadlines, which return answers or raise an error naming the lost process.

The deadline of a call is learned from the run: the time of the slowest call of its kind so far,
in seconds per unit of work, and a grace beyond it. The first call of a kind has a deadline from
the config.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from score_ray.runtime.ray_library import GetTimeoutError, RayError, RayTaskError, ray
from score_ray.types import LearnerLost, PeerLost, ProcessLost, RunError

# Nothing is learned from the time of a start, which depends on caches and other processes.
STARTING = "starting"
# A rank whose peer died often fails some seconds before Ray has noticed the death.
SETTLE_SECONDS = 10.0

RecordEvent = Callable[..., None]  # Reporter.event(kind, who, what, **numbers)


class RemoteCalls:
    """Deadlines for the remote calls of one role; `lost` is its error for a lost process."""

    def __init__(self, start: float, grace: float, lost: type[ProcessLost] = ProcessLost) -> None:
        self._start, self._grace, self._lost = start, grace, lost
        self._slowest: dict[str, float] = {}  # seconds per unit of work, by kind of call

    def allowed(self, doing: str, work: float = 1.0) -> float:
        """Return the seconds that a call of this kind may take."""
        slowest = self._slowest.get(doing)
        return self._start if slowest is None else slowest * work + self._grace

    def learn(self, doing: str, seconds: float, work: float = 1.0) -> None:
        """Learn the next deadline from the time that a finished call of this kind took."""
        if doing == STARTING:
            return
        self._slowest[doing] = max(self._slowest.get(doing, 0.0), seconds / max(work, 1.0))

    def late(self, who: str, doing: str, work: float = 1.0) -> ProcessLost:
        """Return the error for a process that has used up its time."""
        return self._lost(who, doing, f"no sign of life for {self.allowed(doing, work):.0f} s")

    def fetch(self, ref: Any, who: str, doing: str) -> Any:
        """Return the value of a finished call.

        Raises what the call raised, or the role's error if its process is gone. A process that
        could not reach the learner raises LearnerLost, whatever its role.
        """
        try:
            return ray.get(ref, timeout=self._start)
        except GetTimeoutError:
            raise self._lost(who, doing, "its answer could not be fetched") from None
        except PeerLost as error:
            # The error that Ray raises has the other process's traceback as its text.
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
        """Return all answers in the order of `refs`, which has calls by the name of their process.

        The calls are in progress since `began`. `spare` are seconds beyond the deadline, for
        processes that keep to the deadline themselves. Raises the role's error for the first
        process that died or is late. If several fail, a dead one is named rather than one that
        could not reach its peers.
        """
        began, limit = began or time.monotonic(), self.allowed(doing, work) + spare
        waiting = {ref: who for who, ref in refs.items()}
        answers: dict[str, Any] = {}
        without_peer: ProcessLost | None = None
        while waiting:
            left = began + limit - time.monotonic()
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=max(left, 0.0))
            if not ready:
                raise without_peer or self.late(" and ".join(waiting.values()), doing, work)
            who = waiting.pop(ready[0])
            try:
                answers[who] = self.fetch(ready[0], who, doing)
            except self._lost as lost:
                if not isinstance(lost.__context__, PeerLost):
                    raise
                if without_peer is None:
                    without_peer, limit = lost, time.monotonic() - began + SETTLE_SECONDS
        if without_peer:
            raise without_peer
        self.learn(doing, time.monotonic() - began, work)
        return [answers[who] for who in refs]


class Retries:
    """A limit on replacements of lost processes in a row, without progress between them."""

    def __init__(self, allowed: int) -> None:
        self._allowed = self._left = allowed

    def spend(self, lost: ProcessLost) -> None:
        """Count one replacement; raise RunError if none is left."""
        if not self._left:
            raise RunError(
                f"{lost}; given up after {self._allowed} replacements in a row (recovery.retries)"
            ) from lost
        self._left -= 1

    def refill(self) -> None:
        """Allow the full number again, because the run got further."""
        self._left = self._allowed
