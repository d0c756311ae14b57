"""The learner ranks as one: called together, lost together, started again together."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from score_ray.algorithm.batch import Row, shard
from score_ray.algorithm.loss import merge
from score_ray.learner.setup import LearnerSetup
from score_ray.runtime.actors import LearnerRank, PeakMemory
from score_ray.runtime.engine_client import Recipients
from score_ray.runtime.placement import Place
from score_ray.runtime.remote_calls import SETTLE_SECONDS, STARTING, Calls, Retries, Tell
from score_ray.types import LearnerLost

SENDING = "sending weights"
DOING = {
    "reference_sums": "scoring with the reference",
    "update": "updating",
    "score": "scoring the probe",
    "save": "saving a checkpoint",
    "restore": "restoring a checkpoint",
    "export": "exporting the model",
    "matmul_rate": "measuring a matrix product",
    "sleep": "leaving its GPU",
    "wake": "taking its GPU again",
}


class LearnerGroup:
    """All learner ranks. Every call may raise LearnerLost; `restart` is then the way on."""

    def __init__(
        self,
        places: Sequence[Place],
        setup: LearnerSetup,
        calls: Calls,
        retries: Retries,
        tell: Tell,
    ) -> None:
        self._places, self._setup = places, setup
        self._calls, self._retries, self._tell = calls, retries, tell
        self._restarts = 0
        self._start()

    def wait_ready(self) -> None:
        """Return when every rank has joined and loaded its models; lost ones are replaced."""
        while True:
            try:
                self._calls.gather(STARTING, self._started)
                return
            except LearnerLost as lost:
                self._replace(lost)

    def restart(self, lost: LearnerLost) -> None:
        """New ranks in place of all old ones, at the base model.

        Raises RunError when that has been tried too often since the last checkpoint.
        """
        began = time.monotonic()
        self._replace(lost)
        self.wait_ready()
        seconds = round(time.monotonic() - began, 1)
        self._tell("learner_rank", lost.who, "all ranks are back", seconds=seconds)

    def take_restarts(self) -> int:
        """How often the ranks were started again since this was last asked."""
        taken, self._restarts = self._restarts, 0
        return taken

    def reference_sums(self, rows: Sequence[Row], num_attempts: int) -> np.ndarray:
        """[rows, attempts] sums of the reference's log-probs."""
        shared = ray.put(rows)
        found = self._shared("reference_sums", lambda share: (shared, share, num_attempts), rows)
        sums = np.zeros((len(rows), num_attempts))
        for part in found:
            for index, values in part.items():
                sums[index] = values
        return sums

    def update(self, rows: Sequence[Row], weights: np.ndarray, iteration: int) -> dict[str, float]:
        """One optimizer step on all rows; the merged metrics."""
        shared, each = ray.put(rows), ray.put(weights)
        return merge(self._shared("update", lambda share: (shared, each, share, iteration), rows))

    def score(self, rows: list[tuple[int, ...]]) -> list[list[float]]:
        """The policy's log-probs of the rows."""
        return self._all("score", rows)[0]

    def packed_weights(self, part_bytes: int) -> list[Any]:
        """References to the policy in parts, in the object store and nowhere else."""
        streams = {
            who: rank.weights.options(num_returns="streaming").remote(part_bytes)
            for who, rank in self._ranks.items()
        }
        ends = {who: stream.completed() for who, stream in streams.items()}
        self._calls.gather("packing weights", ends)
        return list(next(iter(streams.values())))

    def send(self, backend: str, to: Recipients, buffer_bytes: int) -> dict[str, str]:
        """Send the policy to engines directly; who was lost on the way, and how.

        Rank 0 gives up on engines in time for its own deadline.
        """
        seconds = self._calls.allowed(SENDING)
        calls = {
            who: rank.send.remote(backend, to, buffer_bytes, seconds)
            for who, rank in self._ranks.items()
        }
        return self._calls.gather(SENDING, calls, spare=3 * SETTLE_SECONDS)[0]

    def save(self, folder: Path) -> None:
        """Write policy and optimizer of every rank."""
        self._all("save", folder)
        self._retries.refill()

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self._all("restore", folder)

    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face model folder."""
        self._all("export", folder)

    def matmul_rate(self) -> float:
        """FLOP/s of matrix products on all ranks at once."""
        return sum(self._all("matmul_rate"))

    def sleep(self) -> None:
        """Leave the GPUs to others; no other call will do until `wake`."""
        self._all("sleep")

    def wake(self) -> None:
        """Take the GPUs again."""
        self._all("wake")

    def peak_memory(self) -> dict[str, PeakMemory]:
        """Of each learner rank."""
        refs = {who: rank.peak_memory.remote() for who, rank in self._ranks.items()}
        return dict(zip(refs, self._calls.gather("telling its memory", refs), strict=True))

    def close(self) -> None:
        """End every rank."""
        for rank in self._ranks.values():
            ray.kill(rank)

    def _start(self) -> None:
        """Start every rank; they meet at rank 0 while this returns."""
        count = len(self._places)
        self._ranks: dict[str, Any] = {
            f"learner rank {number}": place.start(LearnerRank, self._setup, number, count)
            for number, place in enumerate(self._places)
        }
        meeting_point = next(iter(self._ranks.values())).meeting_point.remote()
        self._started = {
            who: rank.start.remote(meeting_point, place.visible())
            for (who, rank), place in zip(self._ranks.items(), self._places, strict=True)
        }

    def _replace(self, lost: LearnerLost) -> None:
        self._tell("learner_rank", lost.who, f"{lost.how} while {lost.doing}; all ranks restart")
        self._retries.spend(lost)
        self._restarts += 1
        self.close()
        self._start()

    def _shared(self, method: str, arguments: Callable, rows: Sequence[Row]) -> list:
        """Call a method on every rank with its share of the rows."""
        lengths = [len(row.token_ids) for row in rows]
        learner = self._setup.learner
        tokens = learner.tokens_per_micro_batch
        shares = shard(lengths, len(self._ranks), tokens, learner.packing)
        calls = {
            who: rank.call.remote(method, *arguments(share))
            for (who, rank), share in zip(self._ranks.items(), shares, strict=True)
        }
        return self._calls.gather(DOING[method], calls, work=sum(lengths))

    def _all(self, method: str, *args: Any) -> list:
        calls = {who: rank.call.remote(method, *args) for who, rank in self._ranks.items()}
        return self._calls.gather(DOING[method], calls)
