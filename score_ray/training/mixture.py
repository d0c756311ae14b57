"""Takes problems from several data sets in proportion to their weights.

The choice of a set goes problem by problem: each set has a turn at which its next problem is due,
and the set whose turn ends first comes next. So after any number of problems, a set has given
less than one problem more or less than its share of them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from threading import Lock
from types import MappingProxyType

import numpy as np

from score_ray.rollout.episodes import derive_seed
from score_ray.types import ConfigError, Problem

Weights = Mapping[str, float]  # of each data set, by the source of its problems
NO_WEIGHTS: Weights = MappingProxyType({})  # of a single data set
Part = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def draw_mixture(
    problems: Sequence[Problem], weights: Weights, count: int, seed: int, iteration: int
) -> list[Problem]:
    """Return the problems of an iteration, those of the sets in turn.

    Within its own epoch a set gives no problem twice, and each of its epochs has its own order.
    Problems at the end of an epoch that do not fill a set's part of an iteration are left out of
    that epoch.
    """
    sets = _by_source(problems, weights)
    sizes = tuple(len(s) for s in sets)
    schedule = _schedule(_whole_numbers(weights), sizes, count)
    epochs, starts, turns = schedule.iteration(iteration)
    orders = [
        np.random.default_rng(derive_seed(seed, epoch, number)).permutation(len(problems_of_set))
        for number, (epoch, problems_of_set) in enumerate(zip(epochs, sets, strict=True))
    ]
    places, drawn = list(starts), []
    for which in turns:
        drawn.append(sets[which][orders[which][places[which]]])
        places[which] += 1
    return drawn


def hold_out(
    problems: Sequence[Problem], count: int, weights: Weights
) -> tuple[Sequence[Problem], Sequence[Problem]]:
    """Return the problems without `count` held-out ones, and these, by weight from each set's end.

    Without weights they are the last ones.
    """
    if not weights:
        end = len(problems) - count
        return problems[:end], problems[end:]
    shares = _shares(weights, count)
    kept, held = [], []
    for part, share in zip(_by_source(problems, weights), shares, strict=True):
        kept += part[: len(part) - share]
        held += part[len(part) - share :]
    return kept, held


def check_mixture(problems: Sequence[Problem], count: int, held_out: int, weights: Weights) -> None:
    """Raise ConfigError, naming the data set, unless each can fill its part of an iteration.

    `count` is the number of problems of an iteration, and `held_out` that of held-out problems.
    """
    if not weights:
        return
    total = sum(_whole_numbers(weights))
    sets = zip(
        weights,
        _by_source(problems, weights),
        _whole_numbers(weights),
        _shares(weights, held_out),
        strict=True,
    )
    for source, part, weight, share in sets:
        whole, rest = divmod(count * weight, total)
        most = whole + 2 if rest else whole
        if len(part) < most + share:
            raise ConfigError(
                f"task.train: {source} has {len(part)} problems; with its weight an iteration "
                f"takes up to {most} of rollout.problems, and {share} are held out "
                "(evaluation.held_out); lower its weight or these numbers"
            )


def _by_source(problems: Sequence[Problem], weights: Weights) -> list[list[Problem]]:
    parts: dict[str, list[Problem]] = {source: [] for source in weights}
    for problem in problems:
        parts[problem.source].append(problem)
    return list(parts.values())


def _whole_numbers(weights: Weights) -> tuple[int, ...]:
    """Return the smallest whole numbers that are in proportion to the weights."""
    exact = [Fraction(str(weight)) for weight in weights.values()]
    least = math.lcm(*(fraction.denominator for fraction in exact))
    whole = [int(fraction * least) for fraction in exact]
    return tuple(number // math.gcd(*whole) for number in whole)


def _shares(weights: Weights, count: int) -> list[int]:
    """Return how many of `count` problems come from each set."""
    whole = _whole_numbers(weights)
    shares = [0] * len(whole)
    turns = _turns(whole)
    for _ in range(count):
        shares[next(turns)] += 1
    return shares


def _turns(weights: tuple[int, ...]) -> Iterator[int]:
    """Yield the number of the set that each problem comes from.

    The problem number n of a set with share s of all is due after n / s and before (n + 1) / s
    problems. Among the sets whose next problem is due, the one whose time ends first comes next.
    """
    total, given = sum(weights), [0] * len(weights)
    number = 0
    while True:
        due = [i for i, w in enumerate(weights) if given[i] * total < (number + 1) * w]
        which = min(due, key=lambda i: -(-(given[i] + 1) * total // weights[i]))
        yield which
        given[which] += 1
        number += 1


@dataclass
class MixtureSchedule:
    """What each iteration takes from each set; computed once, from the first iteration on."""

    sizes: tuple[int, ...]
    count: int
    turns: Iterator[int]
    epochs: list[int]
    places: list[int]
    done: list[Part] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)  # iterations are also sampled ahead, in a thread

    def iteration(self, number: int) -> Part:
        """Return each set's epoch, its first place in the order of it, and the turns."""
        with self.lock:
            while len(self.done) <= number:
                self._add()
            return self.done[number]

    def _add(self) -> None:
        turns = [next(self.turns) for _ in range(self.count)]
        for which, size in enumerate(self.sizes):
            if self.places[which] + turns.count(which) > size:
                self.epochs[which] += 1
                self.places[which] = 0
        self.done.append((tuple(self.epochs), tuple(self.places), tuple(turns)))
        for which in turns:
            self.places[which] += 1


@lru_cache(maxsize=4)
def _schedule(weights: tuple[int, ...], sizes: tuple[int, ...], count: int) -> MixtureSchedule:
    zeros = [0] * len(sizes)
    return MixtureSchedule(sizes, count, _turns(weights), [*zeros], [*zeros])
