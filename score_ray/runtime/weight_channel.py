"""The weights' way from the learner to the engines, checked at its end every time.

Engines that serve get them by the run's back end: from the learner directly (nccl, ipc), or
from the object store. An engine that starts later, in place of a lost one, gets them from the
object store in any case; they are packed for it when it comes, while the learner waits.
"""

import functools
import time

from score_ray.runtime.engine_client import Recipients
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.weights.backend import OBJECT_STORE
from score_ray.weights.probe import TELLING, Probe, Scores, mean_abs_difference


class WeightChannel:
    """Sends the policy to every engine and compares both sides on fixed probe rows."""

    def __init__(
        self,
        learner: LearnerGroup,
        pool: RolloutPool,
        rows: list[tuple[int, ...]],
        bound: float,
        part_bytes: int,
        backend: str = OBJECT_STORE,
        keep_packed: bool = False,
    ) -> None:
        """`keep_packed`: pack at every broadcast, where the learner does not wait afterwards.

        It goes on to its next update, or leaves its GPU, while engines still sample.
        """
        self._learner, self._pool, self._part_bytes = learner, pool, part_bytes
        self._rows, self._bound = rows, bound
        self._backend, self._keep_packed = backend, keep_packed
        self._before: Scores | None = None
        self._version = -1

    def broadcast(self, version: int) -> dict[str, float]:
        """Send the policy; the largest mean log-prob difference, in nats, and engines checked.

        `time/weights` is what the weights were on their way, packing included where they go
        through the object store; scoring, checking and turns on a GPU are not in it.
        Raises WeightMismatch when an engine does not serve what was sent.
        """
        pack = functools.cache(lambda: self._learner.packed_weights(self._part_bytes))
        direct = self._backend != OBJECT_STORE
        began = time.monotonic()
        if self._keep_packed or not direct:
            pack()
        packing = 0.0 if direct else time.monotonic() - began
        expected = self._learner.score(self._rows)
        # After going back to a checkpoint there is nothing that an engine could be stale from.
        before = self._before if version > self._version else None
        probe = Probe(version, self._rows, expected, before, self._bound)
        gaps, loading = self._pool.load_weights(pack, probe, self._send if direct else None)
        # Until the current weights stand out from those, an engine cannot be told to be stale.
        if before is None or mean_abs_difference(expected, before) > TELLING * max(gaps.values()):
            self._before = expected
        self._version = version
        return {
            "mismatch/logp_mean_abs": max(gaps.values()),
            "weights/checked": len(gaps),
            "time/weights": packing + loading,
        }

    def _send(self, to: Recipients) -> dict[str, str]:
        return self._learner.send(self._backend, to, self._part_bytes)
