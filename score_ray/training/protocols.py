"""The interfaces of the participants that the trainer calls; tests implement them with fakes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from score_ray.algorithm.batch import Row
from score_ray.reporting.reporter import Reporter
from score_ray.types import (
    BroadcastResult,
    Episode,
    GradedEpisode,
    LearnerLost,
    Problem,
    SamplingPlan,
    UpdateResult,
)


class EpisodeSampler(Protocol):
    """All rollout actors together."""

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Yield lists of episodes that ended together, as they end; a list may be empty."""
        ...

    def take_restarts(self) -> int:
        """Return the number of actors replaced since the last call."""
        ...


class EpisodeGrader(Protocol):
    """A grader that works in the background."""

    def submit(self, episodes: Iterable[Episode]) -> None:
        """Start grading episodes."""
        ...

    @property
    def fault(self) -> str:
        """Why the first failed measurement of the last `collect` failed; "" if none did."""
        ...

    def collect(self) -> list[GradedEpisode]:
        """Wait for everything submitted; return it in order of problem index and sample."""
        ...

    def forget(self) -> None:
        """Discard what was submitted and not collected."""
        ...


class PolicyLearner(Protocol):
    """All learner ranks together, with the policy and the frozen reference."""

    def reference_sums(self, rows: Sequence[Row], num_attempts: int) -> np.ndarray:
        """Return the sums of the reference's log-probs, [rows, attempts]."""
        ...

    def update(self, rows: Sequence[Row], advantages: np.ndarray, iteration: int) -> UpdateResult:
        """Take one optimizer step on rows with advantages [rows, attempts]."""
        ...

    def save(self, folder: Path) -> None:
        """Write policy and optimizer."""
        ...

    def restore(self, folder: Path) -> None:
        """Load what `save` wrote."""
        ...

    def restart(self, lost: LearnerLost) -> None:
        """Start all ranks again from the base model after one was lost."""
        ...

    def take_restarts(self) -> int:
        """Return the number of restarts since the last call."""
        ...

    def export(self, folder: Path) -> None:
        """Write the policy as a model folder."""
        ...


class PolicyChannel(Protocol):
    """The channel through which the policy goes from the learner to the engines."""

    def broadcast(self, version: int) -> BroadcastResult:
        """Send the policy to every engine and check that each serves it."""
        ...


@dataclass(frozen=True, slots=True)
class Roles:
    """The participants of a run, and its problems."""

    train: Sequence[Problem]
    held_out: Sequence[Problem]
    test: Sequence[Problem]
    pool: EpisodeSampler
    grader: EpisodeGrader
    learner: PolicyLearner
    channel: PolicyChannel
    reporter: Reporter
