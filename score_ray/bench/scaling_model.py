"""What the loop gives on more hardware: a small model of an iteration, fed with measurements.

Measured with one rollout actor and one learner rank, each of which stands for one GPU. Assumed:

- an engine step costs a + b * (requests running) and gives each of them one token; an episode is
  a chain of steps, since attempt 2 follows attempt 1 without a barrier; an actor gets whole
  problems, and the iteration waits for the slowest actor, or for the driver if that is slower:
  it reads what ended in a step as a part, which costs it a fixed part and a part per episode;
- no episode is longer than the longest measured, and none takes more than its tokens;
- reference and update cost a fixed part, a part per episode that ranks divide, and a part per
  episode that they do not: every rank reads all rows; ranks sum gradients in a ring;
- a broadcast costs what it does with one actor, and the sending node's network passes the weights
  once to every further node, as in Ray's own benchmark; engines load and are checked at once;
- grading keeps up with sampling, as measured; all the rest is the driver's own and not divided;
- phases follow each other, as they do in `loop.step`.
"""

import heapq
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

Groups = Sequence[Sequence[int]]  # tokens of each problem's episodes


@dataclass(frozen=True, slots=True)
class LinearCost:
    """A cost in seconds: `fixed`, and `each` for every one of something."""

    fixed: float
    each: float

    def at(self, count: float) -> float:
        """Seconds for so many."""
        return self.fixed + self.each * count


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured with one rollout actor and one learner rank, in seconds."""

    step: LinearCost  # an engine step, by requests running
    reference: LinearCost  # by a rank's episodes
    update: LinearCost  # by a rank's episodes
    driver: LinearCost  # by episodes: what runs while nobody else does
    broadcast: float
    handing: float = 0.0  # per episode, in reference and in update: rows to every rank
    reading: LinearCost = LinearCost(
        0.0, 0.0
    )  # of the driver, for a part of a stream, by episodes in it
    per_actor: float = 0.0  # of the driver, for every further actor, in rollout and in broadcast
    per_rank: float = 0.0  # of the driver, for every further rank, in reference and in update
    row_bytes: float = 0.0  # of an episode
    weight_bytes: float = 0.0  # of the policy


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is assumed of the hardware that was not at hand."""

    gpus_per_node: int = 8
    bytes_per_second: float = 25e9  # of a node's network: 200 Gbit/s
    hop: float = 20e-6  # seconds of latency between neighbours in the ring
    watching: float = 1e-6  # seconds that the driver looks at each actor when one has episodes


@dataclass(frozen=True)
class SimulatedIteration:
    """An iteration on `actors` + `ranks` GPUs: seconds by phase."""

    actors: int
    ranks: int
    episodes: int
    phases: dict[str, float]
    undivided: dict[str, float]  # of the same seconds, by cause: what no further GPU makes less

    @cached_property
    def seconds(self) -> float:
        """Of the whole iteration."""
        return sum(self.phases.values())

    @property
    def gpus(self) -> int:
        """Of both roles."""
        return self.actors + self.ranks

    @property
    def rate(self) -> float:
        """Episodes per second."""
        return self.episodes / self.seconds

    @property
    def share(self) -> float:
        """How much of the iteration no further GPU makes shorter."""
        return sum(self.undivided.values()) / self.seconds

    @property
    def limit(self) -> str:
        """The largest of what more GPUs divide, or of what they do not if that is most of it."""
        parts = self.undivided if self.share > 0.5 else self.phases
        return max(parts, key=parts.__getitem__)


def line_through(first: tuple[float, float], second: tuple[float, float]) -> LinearCost:
    """The line through two (count, seconds), neither part of it negative."""
    (n1, t1), (n2, t2) = sorted([first, second])
    each = max((t2 - t1) / (n2 - n1), 0.0) if n1 != n2 else t2 / n2
    fixed = t1 - each * n1
    return LinearCost(fixed, each) if fixed >= 0 else LinearCost(0.0, t2 / n2)


def steps_of(lengths: Sequence[int], max_running: int) -> tuple[int, int, int]:
    """(steps, request-steps, steps in which an episode ends) of an engine, from tokens."""
    if len(lengths) <= max_running:
        return max(lengths), sum(lengths), len(set(lengths))
    waiting, ends = list(reversed(lengths)), []
    now = endings = 0
    while waiting or ends:
        while waiting and len(ends) < max_running:
            heapq.heappush(ends, now + waiting.pop())
        now = ends[0]
        endings += 1
        while ends and ends[0] == now:
            heapq.heappop(ends)
    return now, sum(lengths), endings


def step_cost(measured: Sequence[tuple[tuple[int, int], float]]) -> LinearCost:
    """The cost of an engine step from two ((steps, request-steps), seconds).

    Or that of anything else which costs so much for itself and so much for what is in it.
    """
    ((s1, r1), t1), ((s2, r2), t2) = measured
    if s1 * r2 == s2 * r1:
        return LinearCost(0.0, t1 / r1)
    fixed = (t1 * r2 - t2 * r1) / (s1 * r2 - s2 * r1)
    each = (t1 - fixed * s1) / r1
    if fixed < 0:
        return LinearCost(0.0, (t1 + t2) / (r1 + r2))
    return LinearCost(fixed, each) if each >= 0 else LinearCost((t1 + t2) / (s1 + s2), 0.0)


def sampling_seconds(lengths: Sequence[int], step: LinearCost, max_running: int) -> float:
    """What an engine takes for episodes of these tokens."""
    steps, busy, _ = steps_of(lengths, max_running)
    return step.fixed * steps + step.each * busy


def rollout(
    groups: Groups, actors: int, costs: Costs, cluster: Cluster, max_running: int
) -> tuple[float, dict[str, float]]:
    """Seconds, and of them what further actors do not make less, by cause."""
    slowest, parts = 0.0, 0
    for number in range(min(actors, len(groups))):
        share = [tokens for group in groups[number::actors] for tokens in group]
        steps, busy, endings = steps_of(share, max_running)
        slowest = max(slowest, costs.step.fixed * steps + costs.step.each * busy)
        parts += endings
    different = {tuple(group) for group in groups}
    longest = max(sampling_seconds(group, costs.step, max_running) for group in different)
    looking = costs.reading.fixed + cluster.watching * (actors - 1)
    reading = looking * parts + costs.reading.each * sum(map(len, groups))
    calling = costs.per_actor * (actors - 1)
    cause = {"driver, reading": reading} if reading > longest else {"longest episode": longest}
    return max(slowest, reading) + calling, {**cause, "calling processes": calling}


def iteration(
    groups: Groups, split: tuple[int, int], costs: Costs, cluster: Cluster, max_running: int
) -> SimulatedIteration:
    """One iteration with `split` rollout actors and learner ranks."""
    actors, ranks = split
    episodes = sum(map(len, groups))
    sampling, undivided = rollout(groups, actors, costs, cluster, max_running)
    passes = costs.row_bytes * (_nodes(ranks, cluster) - 1) / cluster.bytes_per_second
    handing = (costs.handing + passes) * episodes
    calling = costs.per_rank * (ranks - 1)
    summing = 2 * (ranks - 1) * (_wire(costs, cluster) / ranks + cluster.hop)
    spread = costs.broadcast + (_nodes(actors, cluster) - 1) * _wire(costs, cluster)
    own = math.ceil(episodes / ranks)
    phases = {
        "rollout": sampling,
        "reference": costs.reference.at(own) + handing + calling,
        "update": costs.update.at(own) + handing + calling + summing,
        "broadcast": spread + costs.per_actor * (actors - 1),
        "driver": costs.driver.at(episodes),
    }
    undivided |= {
        "fixed part of learning": costs.reference.fixed + costs.update.fixed,
        "rows to every rank": 2 * handing,
        "all-reduce": summing,
        "broadcast": spread,
        "driver": phases["driver"],
    }
    undivided["calling processes"] += 2 * calling + costs.per_actor * (actors - 1)
    return SimulatedIteration(actors, ranks, episodes, phases, undivided)


def best(
    groups: Groups, gpus: int, costs: Costs, cluster: Cluster, max_running: int
) -> SimulatedIteration:
    """The fastest way to divide so many GPUs, two at least, between rollout and learner."""
    ranks = {*range(1, 9), *(round(gpus * share / 32) for share in range(1, 32))}
    outcomes = [
        iteration(groups, (gpus - count, count), costs, cluster, max_running)
        for count in sorted(ranks)
        if 0 < count < gpus
    ]
    return max(outcomes, key=lambda outcome: outcome.rate)


def more_groups(measured: Groups, count: int) -> Groups:
    """Tokens for so many problems: what was measured, over and over, the last time a part of it."""
    whole, rest = divmod(count, len(measured))
    order = np.random.default_rng(0).permutation(len(measured))[:rest]
    return [*measured] * whole + [measured[number] for number in order]


def stops(
    outcomes: Sequence[SimulatedIteration], gain: float = 1.25
) -> tuple[SimulatedIteration, SimulatedIteration] | None:
    """The first (before, after) more GPUs that give less than `gain` times the rate."""
    return next(((a, b) for a, b in pairwise(outcomes) if b.rate < gain * a.rate), None)


def verdict(outcomes: Sequence[SimulatedIteration]) -> str:
    """Where more GPUs stop paying, and why, in a sentence."""
    found = stops(outcomes)
    if not found:
        return f"scales up to {outcomes[-1].gpus} GPUs"
    before, after = found
    return (
        f"{after.gpus} GPUs give {after.rate / before.rate:.2f} times the episodes per second of "
        f"{before.gpus}; limit: {after.limit}"
    )


def table_rows(
    outcomes: Sequence[SimulatedIteration], gpus: Collection[int]
) -> list[tuple[str, ...]]:
    """Per outcome with so many GPUs: GPUs, split, episodes, seconds, rate, rate per GPU against
    the first of all outcomes, what is not divided, and the limit.
    """
    one = outcomes[0].rate / outcomes[0].gpus
    return [
        (
            str(o.gpus),
            f"{o.actors} + {o.ranks}",
            f"{o.episodes:,}",
            f"{o.seconds:.3f}",
            f"{o.rate:,.0f}",
            f"{o.rate / o.gpus / one:.0%}",
            f"{o.share:.0%}",
            o.limit,
        )
        for o in outcomes
        if o.gpus in gpus
    ]


def _nodes(processes: int, cluster: Cluster) -> int:
    return math.ceil(processes / cluster.gpus_per_node)


def _wire(costs: Costs, cluster: Cluster) -> float:
    """Seconds that the policy takes over a node's network."""
    return costs.weight_bytes / cluster.bytes_per_second
