"""A small model of one iteration that predicts what more hardware gives.

Its costs are measured with one rollout actor and one learner rank; each of them stands for one
GPU. The model assumes:

- An engine step costs a + b * (running requests) and gives each request one token. An episode is
  a chain of steps, because attempt 2 follows attempt 1 without a barrier. An actor gets whole
  problems. The iteration waits for the slowest actor, or for the driver if that is slower: the
  driver reads the episodes that end in one step as one part of a stream, which costs it a fixed
  time and a time per episode.
- No episode is longer than the longest measured one, and none needs more steps than it has tokens.
- Reference and update cost a fixed time, a time per episode that the ranks divide, and a time per
  episode that they do not divide, because every rank reads all rows. Ranks sum their gradients
  in a ring.
- A broadcast costs what it costs with one actor. In addition, the sending node's network carries
  the weights once for every further node, as in Ray's own benchmark. All engines load the
  weights and are checked at the same time.
- Grading keeps up with sampling, as it did where it was measured. Everything else is work of the
  driver alone and is not divided.
- Phases follow each other, as they do in `Trainer.step`.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from score_ray.planning.gpus import GPUS_PER_NODE

Groups = Sequence[Sequence[int]]  # tokens of each problem's episodes
Split = tuple[int, int]  # numbers of rollout actors and of learner ranks

ONE_EACH: Split = (1, 1)


@dataclass(frozen=True, slots=True)
class LinearCost:
    """A cost in seconds: a fixed part, and a part for every item."""

    fixed: float
    per_item: float

    def at(self, count: float) -> float:
        """Return the seconds for `count` items."""
        return self.fixed + self.per_item * count


FREE = LinearCost(0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Costs measured with one rollout actor and one learner rank, in seconds."""

    step: LinearCost  # an engine step, by running requests
    reference: LinearCost  # by a rank's episodes
    update: LinearCost  # by a rank's episodes
    driver: LinearCost  # by episodes: what the driver does while everybody else waits
    broadcast: float
    sending_rows: float = 0.0  # per episode, in reference and again in update: rows to every rank
    reading_part: LinearCost = FREE  # driver reads a part of a stream, by episodes in the part
    per_actor: float = 0.0  # of the driver, for every further actor, in rollout and in broadcast
    per_rank: float = 0.0  # of the driver, for every further rank, in reference and in update
    row_bytes: float = 0.0  # per episode
    weight_bytes: float = 0.0  # of the whole policy


@dataclass(frozen=True, slots=True)
class Cluster:
    """Assumed properties of hardware that was not measured."""

    gpus_per_node: int = GPUS_PER_NODE
    bytes_per_second: float = 25e9  # of a node's network: 200 Gbit/s
    hop_latency: float = 20e-6  # seconds between neighbours in the ring
    polling: float = 1e-6  # seconds to look at one actor, whenever another one has episodes

    def nodes(self, processes: int) -> int:
        """Return the number of nodes that so many processes fill, with one GPU each."""
        return math.ceil(processes / self.gpus_per_node)

    def transfer_seconds(self, num_bytes: float) -> float:
        """Return the seconds that so many bytes take over a node's network."""
        return num_bytes / self.bytes_per_second


@dataclass(frozen=True)
class SimulatedIteration:
    """An iteration on `actors` + `ranks` GPUs: seconds by phase."""

    actors: int
    ranks: int
    episodes: int
    phases: dict[str, float]
    undivided: dict[str, float]  # those seconds, by cause, that no further GPU shortens

    @cached_property
    def seconds(self) -> float:
        """Seconds of the whole iteration."""
        return sum(self.phases.values())

    @property
    def gpus(self) -> int:
        """Number of GPUs of both roles."""
        return self.actors + self.ranks

    @property
    def rate(self) -> float:
        """Episodes per second."""
        return self.episodes / self.seconds

    @property
    def undivided_share(self) -> float:
        """Share of the iteration that no further GPU shortens."""
        return sum(self.undivided.values()) / self.seconds

    @property
    def limit(self) -> str:
        """The largest undivided cause if these are most of the time, else the largest phase."""
        parts = self.undivided if self.undivided_share > 0.5 else self.phases
        return max(parts, key=parts.__getitem__)


def steps_of(lengths: Sequence[int], max_running: int) -> tuple[int, int, int]:
    """Return (steps, request-steps, steps in which an episode ends) of an engine.

    `lengths` are the tokens of its episodes; at most `max_running` of them run at a time.
    """
    if len(lengths) <= max_running:
        return max(lengths), sum(lengths), len(set(lengths))
    waiting, running_until = list(reversed(lengths)), []
    now = endings = 0
    while waiting or running_until:
        while waiting and len(running_until) < max_running:
            heapq.heappush(running_until, now + waiting.pop())
        now = running_until[0]
        endings += 1
        while running_until and running_until[0] == now:
            heapq.heappop(running_until)
    return now, sum(lengths), endings


def sampling_seconds(lengths: Sequence[int], step: LinearCost, max_running: int) -> float:
    """Return the seconds that an engine takes for episodes of so many tokens."""
    steps, request_steps, _ = steps_of(lengths, max_running)
    return step.fixed * steps + step.per_item * request_steps


def rollout(
    groups: Groups, actors: int, costs: Costs, cluster: Cluster, max_running: int
) -> tuple[float, dict[str, float]]:
    """Return the seconds of a rollout, and those that further actors do not shorten, by cause."""
    slowest, parts = 0.0, 0
    for number in range(min(actors, len(groups))):
        lengths = [tokens for group in groups[number::actors] for tokens in group]
        slowest = max(slowest, sampling_seconds(lengths, costs.step, max_running))
        parts += steps_of(lengths, max_running)[2]
    longest = max(
        sampling_seconds(group, costs.step, max_running) for group in set(map(tuple, groups))
    )
    per_part = costs.reading_part.fixed + cluster.polling * (actors - 1)
    reading = per_part * parts + costs.reading_part.per_item * sum(map(len, groups))
    calling = costs.per_actor * (actors - 1)
    cause = {"driver, reading": reading} if reading > longest else {"longest episode": longest}
    return max(slowest, reading) + calling, {**cause, "calling processes": calling}


def iteration(
    groups: Groups, split: Split, costs: Costs, cluster: Cluster, max_running: int
) -> SimulatedIteration:
    """Return one simulated iteration with `split` rollout actors and learner ranks."""
    actors, ranks = split
    episodes = sum(map(len, groups))
    sampling, causes = rollout(groups, actors, costs, cluster, max_running)
    calling_ranks = costs.per_rank * (ranks - 1)
    calling_actors = costs.per_actor * (actors - 1)
    sending = _sending_rows(episodes, ranks, costs, cluster)
    summing = _all_reduce(ranks, costs, cluster)
    broadcast = _broadcast(actors, costs, cluster)
    of_a_rank = math.ceil(episodes / ranks)
    phases = {
        "rollout": sampling,
        "reference": costs.reference.at(of_a_rank) + sending + calling_ranks,
        "update": costs.update.at(of_a_rank) + sending + calling_ranks + summing,
        "broadcast": broadcast + calling_actors,
        "driver": costs.driver.at(episodes),
    }
    undivided = {
        **causes,
        "calling processes": causes["calling processes"] + 2 * calling_ranks + calling_actors,
        "fixed part of learning": costs.reference.fixed + costs.update.fixed,
        "rows to every rank": 2 * sending,
        "all-reduce": summing,
        "broadcast": broadcast,
        "driver": phases["driver"],
    }
    return SimulatedIteration(actors, ranks, episodes, phases, undivided)


def _sending_rows(episodes: int, ranks: int, costs: Costs, cluster: Cluster) -> float:
    """Return the seconds to hand all rows to every rank: every further node gets them once."""
    over_network = cluster.transfer_seconds(costs.row_bytes) * (cluster.nodes(ranks) - 1)
    return (costs.sending_rows + over_network) * episodes


def _all_reduce(ranks: int, costs: Costs, cluster: Cluster) -> float:
    """Return the seconds to sum the gradients of all ranks in a ring."""
    per_hop = cluster.transfer_seconds(costs.weight_bytes) / ranks + cluster.hop_latency
    return 2 * (ranks - 1) * per_hop


def _broadcast(actors: int, costs: Costs, cluster: Cluster) -> float:
    """Return the seconds of a broadcast: every further node gets the weights once."""
    further_nodes = cluster.nodes(actors) - 1
    return costs.broadcast + further_nodes * cluster.transfer_seconds(costs.weight_bytes)


def best(
    groups: Groups, gpus: int, costs: Costs, cluster: Cluster, max_running: int
) -> SimulatedIteration:
    """Return the fastest way to divide `gpus` GPUs, at least two, between rollout and learner."""
    ranks = {*range(1, 9), *(round(gpus * share / 32) for share in range(1, 32))}
    simulated = [
        iteration(groups, (gpus - count, count), costs, cluster, max_running)
        for count in sorted(ranks)
        if 0 < count < gpus
    ]
    return max(simulated, key=lambda one: one.rate)


def more_groups(measured: Groups, count: int) -> Groups:
    """Return the tokens of `count` problems: the measured ones repeated, then a random part."""
    repeats, rest = divmod(count, len(measured))
    order = np.random.default_rng(0).permutation(len(measured))[:rest]
    return [*measured] * repeats + [measured[number] for number in order]
