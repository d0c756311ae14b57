"""The weights' way from the learner to the engines, checked at its end every time."""

from score_ray.placement.group import LearnerGroup
from score_ray.placement.pool import RolloutPool
from score_ray.weights.probe import Probe, Scores


class Channel:
    """Sends the policy to every engine and compares both sides on fixed probe rows."""

    def __init__(
        self,
        learner: LearnerGroup,
        pool: RolloutPool,
        rows: list[tuple[int, ...]],
        bound: float,
        part_bytes: int,
    ) -> None:
        self._learner, self._pool, self._part_bytes = learner, pool, part_bytes
        self._rows, self._bound = rows, bound
        self._before: Scores | None = None
        self._version = -1

    def broadcast(self, version: int) -> dict[str, float]:
        """Send the policy; the largest mean log-prob difference, in nats, and engines checked.

        Raises WeightMismatch when an engine does not serve what was sent.
        """
        parts = self._learner.packed_weights(self._part_bytes)
        expected = self._learner.score(self._rows)
        # After going back to a checkpoint there is nothing that an engine could be stale from.
        before = self._before if version > self._version else None
        gaps = self._pool.load_weights(
            parts, Probe(version, self._rows, expected, before, self._bound)
        )
        self._before, self._version = expected, version
        return {"mismatch/logp_mean_abs": max(gaps.values()), "weights/checked": len(gaps)}
