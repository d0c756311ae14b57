"""Finds formulas that could not be evaluated within a moment, such as 9^(9^(9^9)) or (10^10)!."""

from typing import Any

from sympy import (
    Basic,
    Integral,
    Limit,
    Pow,
    Product,
    Sum,
    binomial,
    exp,
    factorial,
    log,
    postorder_traversal,
)
from sympy.matrices.expressions.determinant import Determinant

MAX_DIGITS = 20_000  # of a power
MAX_FACTORIAL = 5_000
MAX_TERMS = 1_000  # of a sum or product
MAX_EXPONENT = 2_000  # of a symbol
MAX_EXPONENT_OF_SUM = 50  # whose expansion has as many terms
LOG_10 = 2.302585


def is_costly(value: Any) -> bool:
    """Return whether a parsed answer is too large to evaluate, so that it is compared as text."""
    if not isinstance(value, Basic):
        return False
    # A formula's parts come before it, so that what is evaluated below is known to be small.
    return any(_is_costly_alone(part) for part in postorder_traversal(value))


def _is_costly_alone(part: Any) -> bool:
    if isinstance(part, Integral | Limit):
        return True
    if isinstance(part, Pow):
        return _is_large_power(part.base, part.exp)
    if isinstance(part, exp):
        return part.args[0].is_number and _size(part.args[0]) > MAX_DIGITS * LOG_10
    if isinstance(part, factorial | binomial):
        return part.args[0].is_number and _size(part.args[0]) > MAX_FACTORIAL
    if isinstance(part, Sum | Product):
        return any(_num_terms(limits) > MAX_TERMS for limits in part.limits)
    return isinstance(part, Determinant) and bool(part.free_symbols)


def _is_large_power(base: Any, exponent: Any) -> bool:
    if not exponent.is_number:
        return False
    size = _size(exponent)
    if base.is_number:
        digits = abs(float(log(abs(base) + 1e-300).evalf())) / LOG_10 if size > 100 else 1
        return size * max(digits, 1e-9) > MAX_DIGITS
    return size > (MAX_EXPONENT_OF_SUM if base.is_Add else MAX_EXPONENT)


def _size(number: Any) -> float:
    try:
        return abs(complex(number.evalf(5)))
    except (TypeError, ValueError, OverflowError):
        return float("inf")


def _num_terms(limits: Any) -> float:
    bounds = limits[1:]
    if len(bounds) < 2 or not all(bound.is_number for bound in bounds):
        return 0
    return _size(bounds[1] - bounds[0])
