"""Measures how much the text of the second attempt differs from the first."""

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from score_ray.types import GradedEpisode


def edit_ratio(a: str, b: str) -> float:
    """Return the Levenshtein distance of two texts over the sum of their lengths.

    It is 0.0 if both are empty.
    """
    return Levenshtein.distance(a, b) / (len(a) + len(b)) if a or b else 0.0


def mean_edit_ratio(graded: Sequence[GradedEpisode]) -> float:
    """Return the mean edit ratio of the first two attempts; 0.0 for episodes of one attempt."""
    texts = [[attempt.text for attempt in g.episode.attempts[:2]] for g in graded]
    return sum(edit_ratio(*pair) for pair in texts if len(pair) == 2) / len(texts)
