"""Ends a run whose measurements fail, before it learns from what is left of them."""

from collections.abc import Callable, Sequence

from score_ray.algorithm.metrics import EpisodeStatistics, failed_shares
from score_ray.reporting.metrics import StepResult
from score_ray.types import GradedEpisode, RunError

IN_A_ROW = 3  # iterations: a service that grades may be away for a moment
REMEDY = (
    "mend what grades, or raise grading.deadline if it needs more time, and start the same "
    "command again"
)


def refuse_failed_iteration(
    episodes: EpisodeStatistics, before: Callable[[], Sequence[StepResult]], most: float, fault: str
) -> None:
    """Raise RunError if all measurements of an iteration failed, or too many, three times in a row.

    `before` returns the iterations before it, and is called only if need be; `most` is the
    largest share that may fail (grading.max_failed), `fault` says why the first one failed.
    """
    share = episodes.failed_share
    if share == 1.0:
        raise RunError(f"every measurement of an iteration failed: {fault}. To go on, {REMEDY}")
    if share <= most:
        return
    shares = [*(step.episodes.failed_share for step in before()[1 - IN_A_ROW :]), share]
    if len(shares) == IN_A_ROW and min(shares) > most:
        listed = ", ".join(f"{share:.0%}" for share in shares)
        raise RunError(
            f"{listed} of the measurements failed in {IN_A_ROW} iterations in a row, more than "
            f"grading.max_failed, {most:.0%}: {fault}. To go on, {REMEDY}"
        )


def refuse_failed_evaluation(graded: Sequence[GradedEpisode], fault: str) -> None:
    """Raise RunError if an attempt was measured in no episode: its accuracy is not known.

    `fault` says why the first measurement failed.
    """
    for attempt, share in enumerate(failed_shares(graded) if graded else (), 1):
        if share == 1.0:
            raise RunError(
                f"an evaluation failed: every measurement of attempt {attempt} did: {fault}. "
                f"To go on, {REMEDY}"
            )
