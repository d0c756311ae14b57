"""Ends a run whose numbers are no longer finite, before they reach the engines or a checkpoint."""

import math
from collections.abc import Iterable, Mapping

from score_ray.types import RunError

REMEDY = (
    "a lower learner.learning_rate or learner.max_grad_norm may help, or model.dtype=float32, in a "
    "run with another name=... or begun anew with --fresh; the updates before may have spoiled "
    "earlier checkpoints, too: look at their accuracy before using one"
)
BASE_REMEDY = (
    "the model itself gives such numbers: check the weights of model.path, or choose "
    "model.dtype=float32"
)


def refuse_non_finite(numbers: Mapping[str, Iterable[float]], when: str, updates: int) -> None:
    """Raise RunError naming each kind of number that holds NaN or infinity.

    `when` says where in the run they occurred, and `updates` how many updates the weights had
    seen; without any the model itself is at fault.
    """
    bad = {name: value for name, values in numbers.items() for value in first_bad(values)}
    if not bad:
        return
    found = " and ".join(f"{name} ({value})" for name, value in bad.items())
    remedy = REMEDY if updates else BASE_REMEDY
    raise RunError(f"{found}: not finite {when}, so the run ends here; {remedy}")


def first_bad(values: Iterable[float]) -> list[float]:
    """Return the first value that is NaN or infinite, or nothing."""
    return next(([float(value)] for value in values if not math.isfinite(value)), [])
