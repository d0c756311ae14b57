"""Hashes of the rows of data, by which a resumed run notices that they changed."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from score_ray.types import Problem


def row_hashes(problems: Sequence[Problem]) -> np.ndarray:
    """Return 64 bits of a hash of each problem: of question, answer, given attempt and level.

    Places do not enter, so that a file may be moved and rows in another order are recognized.
    """
    return np.frombuffer(b"".join(map(_hash, problems)), dtype=np.uint64)


def numbering(problems: Sequence[Problem]) -> str:
    """Return a SHA-256 in hex of the problems' indices, and of which of them share a data set.

    The same rows under other numbers are sampled with other seeds.
    """
    sources = {source: i for i, source in enumerate(dict.fromkeys(p.source for p in problems))}
    numbers = [(problem.index, sources[problem.source]) for problem in problems]
    return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()


def question_hash(question: str) -> str:
    """Return 64 bits of a hash of a question, in hex."""
    return _digest([question]).hex()


def _hash(problem: Problem) -> bytes:
    return _digest([problem.question, problem.answer, problem.given, problem.level])


def _digest(texts: list[str]) -> bytes:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=8).digest()
