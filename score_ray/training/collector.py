"""An iteration's episodes, sampled and graded: now, or while the learner is still at another's.

With rollout.overlap the engines sample an iteration from the weights that they have while the
learner updates on the one before, and get the update's weights once both are done. Which
iterations are sampled ahead is a function of the config alone (Config.is_ahead), so a run that
is resumed samples the same ones.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from score_ray.config.config import Config
from score_ray.training.iteration import in_order, training_plan
from score_ray.types import GradedEpisode, Grader, LearnerLost, Pool, Problem


class Collector:
    """Samples in a thread of its own; `problems_of` an iteration are what is sampled."""

    def __init__(
        self,
        pool: Pool,
        grader: Grader,
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
        """Sample an iteration in the background."""
        self._ahead = iteration, self._thread.submit(self._sample, iteration)

    def settle(self) -> None:
        """Return when the engines are idle; raises what sampling in the background raised."""
        if self._ahead:
            self._ahead[1].result()

    def sample(self, iteration: int) -> None:
        """Return when all episodes of an iteration are sampled; most are graded by then."""
        ahead = self._ahead is not None and self._ahead[0] == iteration
        if ahead:
            self.settle()
        else:
            self._sample(iteration)
        self._version = self._config.version_at(iteration - ahead)
        self._ahead = None

    def graded(self, iteration: int) -> list[GradedEpisode]:
        """What `sample` sampled, in the order it was asked for.

        Raises RolloutError for an episode that is lost, doubled, or drawn from other weights.
        """
        problems, samples = self._problems_of(iteration), self._config.rollout.samples
        return in_order(self._grader.collect(), problems, samples, self._version)

    def __enter__(self) -> Self:
        """Ready to sample."""
        return self

    def __exit__(self, kind: type | None, error: object, trace: TracebackType | None) -> None:
        """End: engines are idle where the run goes on; where it does not, nobody waits for them."""
        self._stopped = kind is not None and not issubclass(kind, LearnerLost)
        self._thread.shutdown()

    def _sample(self, iteration: int) -> None:
        plan = training_plan(self._config, iteration)
        for episodes in self._pool.sample(self._problems_of(iteration), plan):
            self._grader.submit(episodes)
            if self._stopped:
                return
