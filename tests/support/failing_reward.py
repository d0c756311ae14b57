"""A reward for the arithmetic recipe that fails in 30 % of its calls on training problems.

Whether a call fails does not depend on whether the answer is right. Problems of the test split
are always measured, so that runs with and without failures can be compared.
"""

import hashlib
import itertools

from score_ray.tasks.arithmetic import Arithmetic

SHARE = 0.3
HELD_OUT = {problem.question for problem in Arithmetic().problems("test")}
CALLS = itertools.count()


def score(problem, text: str) -> float:
    """Return 1.0 for the right sum, else 0.0; or raise an error, as a service that is away does."""
    call = f"{problem.index} {text} {next(CALLS)}".encode()
    number = int.from_bytes(hashlib.sha256(call).digest()[:4]) / 2**32
    if problem.question not in HELD_OUT and number < SHARE:
        raise ConnectionError("the service that grades is away")
    return float(text.strip() == problem.answer)
