"""The group of learner ranks: calls go to all of them, and the loss of one restarts all."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from score_ray.algorithm.batch import Row, shard
from score_ray.algorithm.loss import merge
from score_ray.learner.setup import LearnerSetup
from score_ray.runtime.actors import LearnerRank
from score_ray.runtime.engine_client import Recipients
from score_ray.runtime.placement import Placement
from score_ray.runtime.ray_library import ray
from score_ray.runtime.remote_calls import (
    SETTLE_SECONDS,
    STARTING,
    RecordEvent,
    RemoteCalls,
    Retries,
)
from score_ray.types import LearnerLost, UpdateResult

SENDING = "sending weights"


class LearnerGroup:
    """All learner ranks. Any call may raise LearnerLost; then `restart` starts new ranks."""

    def __init__(
        self,
        placements: Sequence[Placement],
        setup: LearnerSetup,
        calls: RemoteCalls,
        retries: Retries,
        record_event: RecordEvent,
    ) -> None:
        self._placements, self._setup = placements, setup
        self._calls, self._retries, self._record_event = calls, retries, record_event
        self._restarts = 0
        self._start()

    def wait_ready(self) -> None:
        """Return when every rank has joined and loaded its models; restart lost ones."""
        while True:
            try:
                self._calls.gather(STARTING, self._started)
                return
            except LearnerLost as lost:
                self._replace(lost)

    def restart(self, lost: LearnerLost) -> None:
        """Start new ranks in place of all old ones, with the base model.

        Raises RunError if that was done too often since the last checkpoint.
        """
        began = time.monotonic()
        self._replace(lost)
        self.wait_ready()
        seconds = round(time.monotonic() - began, 1)
        self._record_event("learner_rank", lost.who, "all ranks are back", seconds=seconds)

    def take_restarts(self) -> int:
        """Return how often the ranks were restarted since the last call."""
        taken, self._restarts = self._restarts, 0
        return taken

    def reference_sums(self, rows: Sequence[Row], num_attempts: int) -> np.ndarray:
        """Return the sums of the reference's log-probs, [rows, attempts]."""
        shared = ray.put(rows)
        by_rank = self._call_with_shares(
            "scoring with the reference",
            rows,
            lambda rank, share: rank.reference_sums.remote(shared, share, num_attempts),
        )
        sums = np.zeros((len(rows), num_attempts))
        for sums_by_row in by_rank:
            for index, values in sums_by_row.items():
                sums[index] = values
        return sums

    def update(self, rows: Sequence[Row], advantages: np.ndarray, iteration: int) -> UpdateResult:
        """Take one optimizer step on all rows, and return its measures over all ranks.

        `advantages` are [rows, attempts].
        """
        shared_rows, shared_advantages = ray.put(rows), ray.put(advantages)
        by_rank = self._call_with_shares(
            "updating",
            rows,
            lambda rank, share: rank.update.remote(
                shared_rows, shared_advantages, share, iteration
            ),
        )
        return UpdateResult(**merge(by_rank))

    def score(self, rows: list[tuple[int, ...]]) -> list[list[float]]:
        """Return the policy's log-probs of every token of each row but the first."""
        return self._call("scoring the probe", lambda rank: rank.score.remote(rows))[0]

    def packed_weights(self, part_bytes: int) -> list[Any]:
        """Pack the policy into Ray's object store, and return references to its parts."""
        streams = {
            who: rank.packed_weights.options(num_returns="streaming").remote(part_bytes)
            for who, rank in self._ranks.items()
        }
        ends = {who: stream.completed() for who, stream in streams.items()}
        self._calls.gather("packing weights", ends)
        return list(next(iter(streams.values())))

    def send(self, backend: str, to: Recipients, buffer_bytes: int) -> dict[str, str]:
        """Send the policy to engines directly, and return how each lost actor was lost.

        Rank 0 gives up on engines before its own deadline.
        """
        seconds = self._calls.allowed(SENDING)
        return self._call(
            SENDING,
            lambda rank: rank.send.remote(backend, to, buffer_bytes, seconds),
            spare=3 * SETTLE_SECONDS,
        )[0]

    def save(self, folder: Path) -> None:
        """Write policy and optimizer of every rank."""
        self._call("saving a checkpoint", lambda rank: rank.save.remote(folder.absolute()))
        self._retries.refill()

    def restore(self, folder: Path) -> None:
        """Load what `save` wrote."""
        self._call("restoring a checkpoint", lambda rank: rank.restore.remote(folder.absolute()))

    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face model folder."""
        self._call("exporting the model", lambda rank: rank.export.remote(folder.absolute()))

    def sleep(self) -> None:
        """Leave the GPUs; until `wake`, no other call works."""
        self._call("leaving its GPU", lambda rank: rank.sleep.remote())

    def wake(self) -> None:
        """Take the GPUs again."""
        self._call("taking its GPU again", lambda rank: rank.wake.remote())

    def run_on_ranks(self, doing: str, function: Callable, *args: Any) -> dict[str, Any]:
        """Return what function(learner, *args) gives on each rank, by name, for measurements."""
        answers = self._call(doing, lambda rank: rank.run.remote(function, *args))
        return dict(zip(self._ranks, answers, strict=True))

    def close(self) -> None:
        """End every rank."""
        for rank in self._ranks.values():
            ray.kill(rank)

    def _start(self) -> None:
        """Start every rank, without waiting until they have found each other at rank 0."""
        count = len(self._placements)
        self._ranks: dict[str, Any] = {
            f"learner rank {number}": placement.start(LearnerRank, self._setup, number, count)
            for number, placement in enumerate(self._placements)
        }
        rendezvous = next(iter(self._ranks.values())).rendezvous_address.remote()
        self._started = {
            who: rank.start.remote(rendezvous, placement.visible_gpus())
            for (who, rank), placement in zip(self._ranks.items(), self._placements, strict=True)
        }

    def _replace(self, lost: LearnerLost) -> None:
        self._record_event(
            "learner_rank", lost.who, f"{lost.how} while {lost.doing}; all ranks restart"
        )
        self._retries.spend(lost)
        self._restarts += 1
        self.close()
        self._start()

    def _call_with_shares(
        self, doing: str, rows: Sequence[Row], start: Callable[[Any, list[list[int]]], Any]
    ) -> list:
        """Call every rank with its share of the rows, in micro-batches of row indices."""
        lengths = [len(row.token_ids) for row in rows]
        learner = self._setup.learner
        shares = shard(lengths, len(self._ranks), learner.tokens_per_micro_batch, learner.packing)
        refs = {
            who: start(rank, share)
            for (who, rank), share in zip(self._ranks.items(), shares, strict=True)
        }
        return self._calls.gather(doing, refs, work=sum(lengths))

    def _call(self, doing: str, start: Callable[[Any], Any], spare: float = 0.0) -> list:
        """Call every rank, and return the answers in the order of the ranks."""
        refs = {who: start(rank) for who, rank in self._ranks.items()}
        return self._calls.gather(doing, refs, spare=spare)
