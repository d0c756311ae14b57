"""Compares two final answers as text and, by math-verify, as mathematics."""

import logging
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from latex2sympy2_extended.math_normalization import NormalizationConfig
from latex2sympy2_extended.sets import FiniteSet
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Expr, Float, Symbol, UnevaluatedExpr
from sympy.core.function import AppliedUndef

from score_ray.tasks.answers.cost import is_costly
from score_ray.tasks.answers.spelling import WRAPPERS, plain, spelled
from score_ray.tasks.answers.units import without_unit

BASE = re.compile(r"(-?[0-9A-Z]*\d[0-9A-Z]*)_\{?(\d+)\}?")
CLOCK = re.compile(r"(\d+:\d+(?::\d+)?)\s*([ap])\.?\s?m\.?", re.I)
# math-verify reads "3 4" and "3 (4)" as 7, and ABC as a product whose factors may change places.
NUMBERS = r"(?:[-\d\s.,/{}]|\\[dt]?frac|\\sqrt)+"
ONLY_AS_TEXT = re.compile(
    rf"[-\d\s.,]*\d\s+\d[-\d\s.,]*|{NUMBERS}\({NUMBERS}\)|\({NUMBERS}\)[-\s]*{NUMBERS}|[A-Z]{{3,}}"
)
# Of 52_8 the base may be left out, but of 52_{x} and 52_8_9 nothing may.
NO_BASE = re.compile(r"\d\s*_(?!\{\d+\}(?!\s*_)|\d(?!\d))")
# \frac{270}71 may be meant as 270/71, and is read as 270/7 times 1.
GROUP = r"\{(?:[^{}]|\{[^{}]*\})*\}"
DIGITS_BEHIND = re.compile(rf"\\[dt]?frac\s*(?:{GROUP}|\w)\s*(?:{GROUP}|\d)\s*\d+(?![\d^]|\s*\^)")
PERCENTAGE = re.compile(r"(-?[1-9][\d.,]*)\s*\\?%")
FORMULAS_APART = re.compile(r"(?<!\\)\$\s*[/|]\s*\$")  # $7$ / $8$: two candidates, no quotient
WORD = re.compile(r"[^\W\d_]{2,}(?:[\s'-]+[^\W\d_]+)*")
NUMBER = re.compile(r"[-+]?[\d.,/]+|\\d?frac\{\d+\}\{\d+\}")
# (B), B., B) 12 and Option B, but not "B or C" and not "B) 12 or C) 13".
CHOICE = re.compile(
    r"(?:(?i:option|choice|answer|statement)\s*:?\s*)?"
    r"(?:\(([A-Z])\)|([A-Z])[.):](?=\s|$)|([A-Z])$)\s*([^A-Z]*(?:[A-Z][a-z][^A-Z]*)*)"
)
ADDED = re.compile(r"\b(?:or|and)\b|\(?\b[A-Z]\b")  # beside a choice: another one
CHAIN = re.compile(r"(?<![<>!\\:])=|\\approx(?![a-z])|\\simeq(?![a-z])")
APPROXIMATELY = re.compile(r"\\approx(?![a-z])|\\simeq(?![a-z])")
IMPLIES = re.compile(
    r"\\(?:Right|Left|Longright|right|Leftright)arrow|\\(?:implies|iff|to|lor|land)\b"
)
LIST_ENDS = re.compile(r"[;]|,(?![^(\[{]*[)\]}])|\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b")
# math-verify would evaluate these while it reads an interval or a greatest common divisor.
TOWER = re.compile(r"\^\{[^{}^]*\d(?:\d\^|\^\{(?:\d{2,}|[^{}]*\^))|\d{5,}\s*!|\}\)!|!\)!")
MAY_BE_COSTLY = re.compile(r"[\^!*]|\\(?:sum|prod|i*int|lim|[dt]?binom|exp|det|choose)")
SMALL = 1e-3  # numbers up to this are compared by their relative difference
MAX_ANSWER = 1000  # characters of an answer that is compared other than sign by sign
MAX_FORMULA = 400  # characters of an answer that is parsed
MAX_DEPTH = 10  # brackets around brackets in an answer that is parsed

# math_verify would warn in every process that its time-out is off, which is intended: see _parse.
logging.getLogger("math_verify").setLevel(logging.ERROR)
READING = LatexExtractionConfig(
    boxed_match_priority=-1,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    ),
)


def same_answer(gold: str, given: str) -> bool:
    """Return whether the given answer equals the gold one, as text or as mathematics."""
    if max(len(gold), len(given)) > MAX_ANSWER:
        return gold.strip() == given.strip()
    if FORMULAS_APART.search(given) and not FORMULAS_APART.search(gold):
        return False
    gold, given = spelled(gold), spelled(given)
    if plain(gold) == plain(given):
        return True
    for pattern in (BASE, CLOCK):
        gold, what = _split(pattern, gold)
        given, given_what = _split(pattern, given)
        if what and given_what and what != given_what:
            return False
    if CHOICE.fullmatch(unwrapped := WRAPPERS.sub(r"\1", gold)) and not NUMBER.fullmatch(gold):
        return _same_choice(unwrapped, WRAPPERS.sub(r"\1", given)) or _same_answer(gold, given)
    return _same_answer(gold, given)


def _same_answer(gold: str, given: str) -> bool:
    gold = without_unit(gold)
    given = without_unit(given, beside_number=bool(NUMBER.fullmatch(gold)))
    if not given:
        return False
    text, given_text = plain(gold), plain(given)
    if text == given_text:
        return True
    if WORD.fullmatch(WRAPPERS.sub(r"\1", gold)) and text.casefold() == given_text.casefold():
        return True
    if _is_only_text(gold) or _is_only_text(given):
        return False
    if {text[:1] + text[-1:], given_text[:1] + given_text[-1:]} == {"()", r"\}"}:
        return False
    if not _is_consistent(gold, given):
        return False
    gold, given = _alike_percentages(gold, given)
    return any(
        _same_value(_parse(one), _parse(other))
        for one in _alternatives(gold)
        for other in _alternatives(given)
    )


def _is_only_text(answer: str) -> bool:
    """Return whether math-verify would read into the answer what its writer may not mean."""
    patterns = NO_BASE, DIGITS_BEHIND
    return bool(ONLY_AS_TEXT.fullmatch(answer)) or any(p.search(answer) for p in patterns)


def _alike_percentages(gold: str, given: str) -> tuple[str, str]:
    """Return both without a percent sign if only one has it and the other is that number."""
    for one, other in ((gold, given), (given, gold)):
        percentage = None if PERCENTAGE.fullmatch(other) else PERCENTAGE.fullmatch(one)
        if percentage and _same_value(_parse(percentage[1]), _parse(other)):
            return other, other
    return gold, given


def _split(pattern: re.Pattern[str], answer: str) -> tuple[str, str]:
    """Return a number and its base, or a time and its half of the day; "" if it has none."""
    match = pattern.fullmatch(WRAPPERS.sub(r"\1", answer))
    return (match[1], match[2].lower()) if match else (answer, "")


def _same_choice(gold: str, given: str) -> bool:
    """Return whether both name the same letter, and no other text beside it."""
    one, other = CHOICE.fullmatch(gold), CHOICE.fullmatch(given)
    if not one or not other or ADDED.search(other[4]):
        return False
    same_text = not one[4] or not other[4] or plain(one[4]) == plain(other[4])
    return (one[1] or one[2] or one[3]) == (other[1] or other[2] or other[3]) and same_text


def _alternatives(answer: str) -> list[str]:
    """Return the values that an approximation gives: 22/7 and 3.14 for 22/7 ≈ 3.14."""
    sides = APPROXIMATELY.split(answer)
    return [without_unit(side.strip()) for side in sides] if len(sides) > 1 else [answer]


def _is_consistent(gold: str, given: str) -> bool:
    r"""Return whether no chain in the given answer contradicts itself, as 8=7 and 7≈8 do.

    A step such as x=8 \Rightarrow x=7 is no answer.
    """
    if IMPLIES.search(given) and not IMPLIES.search(gold):
        return False
    if not CHAIN.search(given):
        return True
    return all(_is_true_chain(part, gold) for part in LIST_ENDS.split(given))


def _is_true_chain(part: str, gold: str) -> bool:
    """Return whether the sides that can be compared agree: all of an approximation's must."""
    is_equation = bool(CHAIN.search(gold))
    approximate = bool(APPROXIMATELY.search(part))
    sides = [without_unit(side.strip()) for side in CHAIN.split(part)]
    if any(side.endswith("-") for side in sides):  # -\approx 8.24 is no value
        return False
    values = [_expression(side) for side in sides]
    if approximate and not all(getattr(value, "is_number", False) for value in values[1:]):
        return False
    for (one, other), side in _compared(values, sides):
        if not hasattr(one, "free_symbols") or not hasattr(other, "free_symbols"):
            continue
        symbols = one.free_symbols
        if isinstance(one, Symbol) or one.has(AppliedUndef) or symbols != other.free_symbols:
            continue
        if symbols and is_equation:
            continue
        if not _same_value([one], [other]) and not _is_rounded(one, other, side, approximate):
            return False
    return True


def _compared(values: list[Any], sides: list[str]) -> Iterator[tuple[tuple[Any, Any], str]]:
    """Yield neighbours, and numbers with only names between (x=6=x=5), with the second's text."""
    both = [*zip(values, sides, strict=True)]
    numbers = [one for one in both if getattr(one[0], "is_number", False)]
    for (one, _), (other, side) in [*pairwise(both), *pairwise(numbers)]:
        yield (one, other), side


def _expression(side: str) -> Any:
    parsed = _parse(side)
    return parsed[0] if parsed else None


def _is_rounded(exact: Any, rounded: Any, text: str, approximate: bool) -> bool:
    """Return whether the second number is the first, rounded to the decimals in its text."""
    if not (getattr(exact, "is_number", False) and getattr(rounded, "is_number", False)):
        return False
    decimals = re.search(r"\.(\d+)$", text)
    if not decimals and not (approximate and re.fullmatch(r"-?\d+", text)):
        return False
    unit = 10.0 ** -len(decimals[1] if decimals else "")
    return bool(abs(exact.doit().evalf() - rounded.evalf()) <= 0.5001 * unit)


@lru_cache(maxsize=512)
def _parse(answer: str) -> list[Any]:
    # Parsed as one formula only: otherwise math-verify returns the last number in a text that it
    # cannot parse. Its time-out would need a signal; process_grader.py sets a deadline instead.
    if len(answer) > MAX_FORMULA or _depth(answer) > MAX_DEPTH or TOWER.search(answer):
        return []
    no_alarm: Any = {"parsing_timeout": None}
    values = parse(f"${answer}$", [READING], **no_alarm)
    costly = MAY_BE_COSTLY.search(answer) and any(is_costly(value) for value in values)
    return [] if costly else values


def _depth(answer: str) -> int:
    depth = deepest = 0
    for sign in answer:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _same_value(gold: list[Any], given: list[Any]) -> bool:
    if not gold or not given:
        return False
    same = verify(gold, given, allow_set_relation_comp=True, timeout_seconds=None)
    if not same:
        return _is_same_large(gold[0], given[0])
    lengths = {_num_values(gold[0]), _num_values(given[0])} - {0}
    return len(lengths) < 2 and _is_close(gold[0], given[0])


def _num_values(answer: Any) -> int:
    """Count the values of a list with repetitions, which the set drops; 1 for one, 0 if unknown."""
    if isinstance(answer, FiniteSet):
        return len(answer._unsorted_args)
    return int(isinstance(answer, Expr))


def _numbers(*values: Any) -> Iterator[Any]:
    """Yield the values that are numbers, evaluated, and no percentages."""
    for value in values:
        if getattr(value, "is_number", False) and not value.has(UnevaluatedExpr):
            yield value.evalf()


def _is_close(gold: Any, given: Any) -> bool:
    """Return whether small numbers are equal; math-verify would round them to six decimals."""
    if len(numbers := [*_numbers(gold, given)]) < 2:
        return True
    gold, given = numbers
    return bool(abs(gold) > SMALL or abs(given - gold) <= 1e-5 * abs(gold) + 1e-60)


def _is_same_large(gold: Any, given: Any) -> bool:
    """Return whether a large decimal number is equal up to a floating-point number's last digit."""
    if not any(isinstance(v, Expr) and v.has(Float) for v in (gold, given)):
        return False
    if len(numbers := [*_numbers(gold, given)]) < 2:
        return False
    gold, given = numbers
    return bool(abs(gold) > 1e6 and abs(given - gold) <= 1e-14 * abs(gold))
