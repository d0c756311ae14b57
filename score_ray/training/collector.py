"""Samples and grades an iteration's episodes, now or during the update of the one before.

With rollout.overlap the engines sample the next iteration while the learner updates on the
current one. The new weights are sent to them when both have finished.
Which iterations are sampled ahead is a function of the config alone (Config.is_ahead), so a
resumed run samples the same ones ahead.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from score_ray.config.config import Config
from score_ray.training.iteration import in_order, training_plan
from score_ray.training.protocols import EpisodeGrader, EpisodeSampler
from score_ray.types import GradedEpisode, LearnerLost, Problem


class Collector:
    """Samples and grades iterations, also ahead of time in a thread.

    `problems_of` returns the problems of an iteration.
    """

    def __init__(
        self,
        pool: EpisodeSampler,
        grader: EpisodeGrader,
        problems_of: Callable[[int], Sequence[Problem]],
        config: Config,
    ) -> None:
        self._pool, self._grader, self._config = pool, grader, config
        self._problems_of = problems_of
        self._thread = ThreadPoolExecutor(1, "sampling ahead")
        self._ahead: tuple[int, Future] | None = None
        self._version = 0
        self._stopped = False

    def begin(self, iteration: int) -> None:
        """Start sampling an iteration in the background."""
        self._ahead = iteration, self._thread.submit(self._sample, iteration)

    def wait(self) -> None:
        """Wait until sampling in the background has ended; raise the error that it raised."""
        if self._ahead:
            self._ahead[1].result()

    def sample(self, iteration: int) -> None:
        """Sample an iteration, or wait until the thread has; grading goes on in the background."""
        ahead = self._ahead is not None and self._ahead[0] == iteration
        if ahead:
            self.wait()
        else:
            self._sample(iteration)
        self._version = self._config.version_at(iteration - 1 if ahead else iteration)
        self._ahead = None

    def graded(self, iteration: int) -> list[GradedEpisode]:
        """Return the graded episodes of the last `sample`, in the order of problems and samples.

        Raises RolloutError for an episode that is missing, doubled, or sampled from other weights.
        """
        problems, samples = self._problems_of(iteration), self._config.rollout.samples
        return in_order(self._grader.collect(), problems, samples, self._version)

    def __enter__(self) -> Self:
        """Return the collector."""
        return self

    def __exit__(self, kind: type | None, error: object, trace: TracebackType | None) -> None:
        """Wait for background sampling to end, and stop the thread.

        After an error other than the loss of a learner rank the run ends, so the sampling is
        stopped after the next episodes.
        """
        self._stopped = kind is not None and not issubclass(kind, LearnerLost)
        self._thread.shutdown()

    def _sample(self, iteration: int) -> None:
        plan = training_plan(self._config, iteration)
        for episodes in self._pool.sample(self._problems_of(iteration), plan):
            self._grader.submit(episodes)
            if self._stopped:
                return
