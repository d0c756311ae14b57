"""The channel of weights from the learner to the engines, with a check after every broadcast.

Engines that serve get the weights through the run's back end: from the learner directly (nccl,
ipc), or from the object store. An engine that starts later, in place of a lost one, gets them from
the object store in any case. They are packed for it when it starts, while the learner waits.
"""

import functools
import time
from itertools import chain

from score_ray.algorithm.finite import refuse_non_finite
from score_ray.runtime.colocation import ColocatedLearner, ColocatedPool
from score_ray.runtime.engine_client import Recipients
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.types import BroadcastResult
from score_ray.weights.backend import OBJECT_STORE
from score_ray.weights.probe import CLEAR_RATIO, Probe, Scores, mean_abs_difference


class WeightChannel:
    """Sends the policy to every engine, and compares both sides on fixed probe rows."""

    def __init__(
        self,
        learner: LearnerGroup | ColocatedLearner,
        pool: RolloutPool | ColocatedPool,
        rows: list[tuple[int, ...]],
        bound: float,
        part_bytes: int,
        backend: str = OBJECT_STORE,
        keep_packed: bool = False,
    ) -> None:
        """With `keep_packed`, weights are packed at every broadcast, also if it is direct.

        This is for a learner that updates, or leaves its GPU, while engines sample: it could not
        pack them later for an engine that starts.
        """
        self._learner, self._pool, self._part_bytes = learner, pool, part_bytes
        self._rows, self._bound = rows, bound
        self._backend, self._keep_packed = backend, keep_packed
        self._scores_before: Scores | None = None
        self._version = -1

    def broadcast(self, version: int) -> BroadcastResult:
        """Send the policy to every engine, and check that each serves it.

        The seconds of the result include packing where the weights go through the object store,
        but not scoring, checking, or leaving and taking GPUs. Raises WeightMismatch when an
        engine does not serve what was sent, and RunError, before anything is sent, if the policy
        gives log-probs that are not finite.
        """
        pack = functools.cache(lambda: self._learner.packed_weights(self._part_bytes))
        direct = self._backend != OBJECT_STORE
        began = time.monotonic()
        if self._keep_packed or not direct:
            pack()
        packing = 0.0 if direct else time.monotonic() - began
        expected = self._learner.score(self._rows)
        scores = {"the log-probs of the policy": chain.from_iterable(expected)}
        refuse_non_finite(scores, f"after update {version}" if version else "at first", version)
        # After a return to a checkpoint, there are no older weights that an engine could serve.
        before = self._scores_before if version > self._version else None
        probe = Probe(version, self._rows, expected, before, self._bound)
        mismatches, loading = self._pool.load_weights(pack, probe, self._send if direct else None)
        largest = max(mismatches.values())
        # Keep comparing with the same older weights until the current ones differ clearly from
        # them: before that, an engine with the older ones looks like one with the current ones.
        if before is None or mean_abs_difference(expected, before) > CLEAR_RATIO * largest:
            self._scores_before = expected
        self._version = version
        return BroadcastResult(largest, len(mismatches), packing + loading)

    def _send(self, to: Recipients) -> dict[str, str]:
        return self._learner.send(self._backend, to, self._part_bytes)
