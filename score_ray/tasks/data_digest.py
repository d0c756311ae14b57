"""Digests of problems, by which a resumed run notices that its data changed."""

import hashlib
import json
from collections.abc import Sequence

from score_ray.types import Problem


def digest(problems: Sequence[Problem]) -> str:
    """Return a SHA-256 in hex of all problems, in their order."""
    whole = hashlib.sha256()
    for problem in problems:
        whole.update(row_digest(problem))
    return whole.hexdigest()


def row_digest(problem: Problem) -> bytes:
    """Return the SHA-256 of one problem, 32 bytes.

    It covers all that makes a run: index, question, answer, given attempt, level and source.
    """
    parts = (
        problem.index,
        problem.question,
        problem.answer,
        problem.given,
        problem.level,
        problem.source,
    )
    return hashlib.sha256(json.dumps(parts).encode()).digest()
