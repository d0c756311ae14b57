"""What the loop gives on more hardware: a small model of an iteration, fed with measurements.

One rollout actor or learner rank stands for one GPU (or whatever was measured). Assumed:

- an engine step costs a + b * (requests running), and gives each of them one token;
- an episode is a chain of steps, since attempt 2 follows attempt 1 without a barrier, and the
  iteration waits for the slowest actor, or for the driver if it reads episodes more slowly;
- reference and update cost a fixed part and a part per episode that the ranks divide; ranks
  then sum their gradients, 2 (M - 1) / M times the weights over the network;
- a broadcast costs what it does with one actor, and log2(nodes) times the weights over the
  network to reach the others, which load in parallel;
- the rest of the iteration is the driver's own, per episode, and nobody shares it.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Line:
    """A cost in seconds: `fixed`, and `each` for every one of something."""

    fixed: float
    each: float

    def at(self, count: float) -> float:
        """Seconds for so many."""
        return self.fixed + self.each * count


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured with one rollout actor and one learner rank."""

    step: Line  # an engine step, by requests running
    reference: Line  # by episodes
    update: Line  # by episodes
    driver: Line  # what nobody shares, by episodes
    reading: float  # seconds of the driver per episode while actors sample
    broadcast: float
    weight_bytes: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is assumed of the hardware that was not at hand."""

    gpus_per_node: int = 8
    bytes_per_second: float = 25e9  # between nodes: 200 Gbit/s


@dataclass(frozen=True, slots=True)
class Outcome:
    """An iteration on `actors` + `ranks` GPUs: seconds by phase."""

    actors: int
    ranks: int
    episodes: int
    phases: dict[str, float]
    cause: str  # why sampling takes as long as it does

    @property
    def seconds(self) -> float:
        """Of the whole iteration."""
        return sum(self.phases.values())

    @property
    def rate(self) -> float:
        """Episodes per second."""
        return self.episodes / self.seconds

    @property
    def limit(self) -> str:
        """What takes the largest part of the iteration."""
        phase = max(self.phases, key=self.phases.__getitem__)
        return self.cause if phase == "rollout" else phase


def line_through(first: tuple[float, float], second: tuple[float, float]) -> Line:
    """The line through two (count, seconds), neither part of it negative."""
    (n1, t1), (n2, t2) = sorted([first, second])
    each = max((t2 - t1) / (n2 - n1), 0.0)
    return Line(max(t1 - each * n1, 0.0), each if t1 - each * n1 >= 0 else t2 / n2)


def steps_of(lengths: Sequence[int], max_running: int) -> tuple[int, int]:
    """(steps, request-steps) of an engine that samples episodes of these many tokens."""
    waiting, ends = list(reversed(lengths)), []
    now = busy = 0
    while waiting or ends:
        while waiting and len(ends) < max_running:
            heapq.heappush(ends, now + waiting.pop())
        until = ends[0]
        busy += (until - now) * len(ends)
        now = until
        while ends and ends[0] == now:
            heapq.heappop(ends)
    return now, busy


def step_cost(measured: Sequence[tuple[tuple[int, int], float]]) -> Line:
    """The cost of an engine step from two ((steps, request-steps), seconds)."""
    (s1, r1), t1 = measured[0]
    (s2, r2), t2 = measured[1]
    determinant = s1 * r2 - s2 * r1
    fixed = (t1 * r2 - t2 * r1) / determinant if determinant else 0.0
    if fixed < 0 or not determinant:
        return Line(0.0, t1 / r1)
    each = (t1 - fixed * s1) / r1
    return Line(fixed, each) if each > 0 else Line(t1 / s1, 0.0)


def rollout(
    groups: Sequence[Sequence[int]], actors: int, costs: Costs, max_running: int
) -> tuple[float, str]:
    """Seconds, and why not fewer; `groups` are the token counts of each problem's episodes."""
    slowest = 0.0
    for number in range(min(actors, len(groups))):
        share = [tokens for group in groups[number::actors] for tokens in group]
        steps, busy = steps_of(share, max_running)
        slowest = max(slowest, costs.step.fixed * steps + costs.step.each * busy)
    longest = max(max(group) for group in groups)
    reading = costs.reading * sum(map(len, groups))
    if reading > slowest:
        return reading, "driver reading episodes"
    alone = longest * costs.step.at(1)
    return slowest, "longest episode" if slowest < 1.5 * alone else "sampling"


def iteration(
    groups: Sequence[Sequence[int]],
    split: tuple[int, int],
    costs: Costs,
    cluster: Cluster,
    max_running: int,
) -> Outcome:
    """One iteration with `split` rollout actors and learner ranks."""
    actors, ranks = split
    episodes = sum(map(len, groups))
    sampling, cause = rollout(groups, actors, costs, max_running)
    wire = costs.weight_bytes / cluster.bytes_per_second
    nodes = math.ceil(actors / cluster.gpus_per_node)
    phases = {
        "rollout": sampling,
        "reference": costs.reference.at(episodes / ranks),
        "update": costs.update.at(episodes / ranks) + 2 * (ranks - 1) / ranks * wire,
        "broadcast": costs.broadcast + math.log2(nodes) * wire,
        "driver": costs.driver.at(episodes),
    }
    return Outcome(actors, ranks, episodes, phases, cause)


def best(
    groups: Sequence[Sequence[int]], gpus: int, costs: Costs, cluster: Cluster, max_running: int
) -> Outcome:
    """The fastest way to divide so many GPUs between rollout and learner."""
    ranks = {max(1, round(gpus * share / 32)) for share in range(1, 32)}
    outcomes = [
        iteration(groups, (gpus - count, count), costs, cluster, max_running)
        for count in sorted(ranks)
        if count < gpus
    ]
    return max(outcomes, key=lambda outcome: outcome.rate)


def draw_groups(measured: Sequence[Sequence[int]], count: int) -> list[Sequence[int]]:
    """Token counts for so many problems, drawn from those that were measured."""
    chosen = np.random.default_rng(0).integers(len(measured), size=count)
    return [measured[number] for number in chosen]


def table_rows(outcomes: Sequence[Outcome], one: Outcome) -> list[tuple[str, ...]]:
    """Per outcome: GPUs, split, episodes, seconds, episodes per second, efficiency, limit.

    Efficiency compares the rate per GPU with that of `one`, the smallest arrangement.
    """
    per_gpu = one.rate / (one.actors + one.ranks)
    return [
        (
            str(o.actors + o.ranks),
            f"{o.actors} + {o.ranks}",
            f"{o.episodes:,}",
            f"{o.seconds:.2f}",
            f"{o.rate:,.0f}",
            f"{o.rate / (o.actors + o.ranks) / per_gpu:.0%}",
            f"{o.limit} ({max(o.phases.values()) / o.seconds:.0%})",
        )
        for o in outcomes
    ]
