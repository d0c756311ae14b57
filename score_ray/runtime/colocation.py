"""Engines and learner ranks on the same GPUs, of which one side uses them at a time.

Before a call of the learner the engines leave the GPUs, and before a call of the engines the
learner leaves them. Both sides are on the GPUs only during a direct transfer of weights: the
engines then hold nothing but their weights, and the learner leaves before they are used. The
rest of the run uses `ColocatedPool` and `ColocatedLearner` in place of the pool and the group.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from score_ray.algorithm.batch import Row
from score_ray.runtime.engine_client import Recipients
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.rollout_pool import Loaded, RolloutPool, SendWeights
from score_ray.runtime.rollout_slots import PackWeights
from score_ray.types import Episode, LearnerLost, Problem, SamplingPlan, UpdateResult
from score_ray.weights.probe import Probe

MakeRoom = Callable[[], None]


class GpuSharing:
    """The two sides that share GPUs, and a record of which of them is on the GPUs.

    `start_pool` gets a function that frees the GPUs, which the pool calls before an engine needs
    memory. `direct` says that weights are transferred from GPU memory to GPU memory.
    """

    def __init__(
        self,
        start_pool: Callable[[MakeRoom], RolloutPool],
        start_learner: Callable[[], LearnerGroup],
        direct: bool,
    ) -> None:
        self._engines_on_gpu, self._ranks_on_gpu = True, False
        self._engines = start_pool(self.give_to_engines)
        self._take_from_engines()  # the ranks need the memory to start
        self._ranks = start_learner()
        self._ranks_on_gpu = True
        self.pool = ColocatedPool(self._engines, self, direct)
        self.learner = ColocatedLearner(self._ranks, self)

    def give_to_engines(self) -> None:
        """Have the learner leave the GPUs, for the engines' next call."""
        if self._ranks_on_gpu:
            self._ranks.sleep()
            self._ranks_on_gpu = False
        self._engines_on_gpu = True  # their next call takes the memory that it needs

    def give_to_learner(self) -> None:
        """Have the engines leave the GPUs, and the learner take them."""
        self._take_from_engines()
        if not self._ranks_on_gpu:
            self._ranks.wake()
            self._ranks_on_gpu = True

    def free_for_restart(self) -> None:
        """End the ranks that are left, and have the engines leave the GPUs.

        The ranks go first, so that an engine which died with a rank on the same node can be
        replaced. A broadcast that broke off may have left engines on the GPUs or not, so they
        are told to leave in any case.
        """
        self._ranks.close()
        self._ranks_on_gpu, self._engines_on_gpu = False, True
        self._take_from_engines()
        self._ranks_on_gpu = True

    def _take_from_engines(self) -> None:
        if self._engines_on_gpu:
            self._engines.sleep()
            self._engines_on_gpu = False


class ColocatedPool:
    """The rollout pool on shared GPUs: takes them before every call that needs them."""

    def __init__(self, pool: RolloutPool, sharing: GpuSharing, direct: bool) -> None:
        self._pool, self._sharing, self._direct = pool, sharing, direct

    def wait_ready(self) -> None:
        """Return when every engine serves."""
        self._pool.wait_ready()

    def take_restarts(self) -> int:
        """Return how many rollout actors were replaced since the last call."""
        return self._pool.take_restarts()

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream every episode exactly once, and empty lists as signs of life."""
        self._sharing.give_to_engines()
        return self._pool.sample(problems, plan)

    def load_weights(
        self, pack: PackWeights, probe: Probe, send: SendWeights | None = None
    ) -> Loaded:
        """Have every engine serve the weights of the probe's version, and check that it does."""
        if self._direct:  # the pool frees the GPUs of the learner before engines use the weights
            self._sharing.give_to_learner()
        else:
            self._sharing.give_to_engines()
        return self._pool.load_weights(pack, probe, send)

    def run_on_engines(
        self, doing: str, function: Callable, arguments: Sequence[tuple] = ()
    ) -> dict[str, Any]:
        """Return what function(engine, *arguments) gives in each actor, by name."""
        self._sharing.give_to_engines()
        return self._pool.run_on_engines(doing, function, arguments)


class ColocatedLearner:
    """The learner group on shared GPUs: takes them before every call that needs them."""

    def __init__(self, group: LearnerGroup, sharing: GpuSharing) -> None:
        self._group, self._sharing = group, sharing

    def wait_ready(self) -> None:
        """Return when every rank has joined and loaded its models."""
        self._group.wait_ready()

    def take_restarts(self) -> int:
        """Return how often the ranks were restarted since the last call."""
        return self._group.take_restarts()

    def restart(self, lost: LearnerLost) -> None:
        """Start new ranks in place of all old ones, with the base model."""
        self._sharing.free_for_restart()
        self._group.restart(lost)

    def reference_sums(self, rows: Sequence[Row], num_attempts: int) -> np.ndarray:
        """Return the sums of the reference's log-probs, [rows, attempts]."""
        self._sharing.give_to_learner()
        return self._group.reference_sums(rows, num_attempts)

    def update(self, rows: Sequence[Row], advantages: np.ndarray, iteration: int) -> UpdateResult:
        """Take one optimizer step on all rows, and return the merged metrics."""
        self._sharing.give_to_learner()
        return self._group.update(rows, advantages, iteration)

    def score(self, rows: list[tuple[int, ...]]) -> list[list[float]]:
        """Return the policy's log-probs of every token of each row but the first."""
        self._sharing.give_to_learner()
        return self._group.score(rows)

    def packed_weights(self, part_bytes: int) -> list[Any]:
        """Pack the policy into Ray's object store, and return references to its parts."""
        self._sharing.give_to_learner()
        return self._group.packed_weights(part_bytes)

    def send(self, backend: str, to: Recipients, buffer_bytes: int) -> dict[str, str]:
        """Send the policy to engines directly, and return how each lost actor was lost."""
        self._sharing.give_to_learner()
        return self._group.send(backend, to, buffer_bytes)

    def save(self, folder: Path) -> None:
        """Write policy and optimizer of every rank."""
        self._sharing.give_to_learner()
        self._group.save(folder)

    def restore(self, folder: Path) -> None:
        """Load what `save` wrote."""
        self._sharing.give_to_learner()
        self._group.restore(folder)

    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face model folder."""
        self._sharing.give_to_learner()
        self._group.export(folder)

    def run_on_ranks(self, doing: str, function: Callable, *args: Any) -> dict[str, Any]:
        """Return what function(learner, *args) gives on each rank, by name."""
        self._sharing.give_to_learner()
        return self._group.run_on_ranks(doing, function, *args)
