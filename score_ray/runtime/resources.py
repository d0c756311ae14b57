"""What a run asks of a cluster against what the cluster has: plain numbers, no Ray."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from score_ray.types import ConfigError


@dataclass(frozen=True, slots=True)
class Ask:
    """Processes of one role; `gpus` is what each needs at once, on one node.

    `guests` are processes of another role, one on every GPU of these.
    """

    role: str  # in the singular: "rollout actor"
    count: int
    gpus: int = 1
    guests: Self | None = None

    def __str__(self) -> str:
        each = f" of {self.gpus} GPUs each" if self.gpus > 1 else ""
        shared = f", shared with {self.guests.count} {self.guests.role}s" if self.guests else ""
        return f"{self.count * self.gpus} for {self.count} {self.role}s{each}{shared}"


def sharing(actors: Ask, ranks: Ask) -> Ask:
    """Engines and learner ranks on the same GPUs, a rank on each, as one ask.

    Raises ConfigError if there are more GPUs of the one kind than of the other.
    """
    if ranks.count != actors.count * actors.gpus:
        raise ConfigError(
            "rollout.share_gpus: every GPU holds a learner rank and its part of an engine, so "
            "learner.num_ranks must be rollout.num_actors times rollout.tensor_parallel, "
            f"{actors.count} x {actors.gpus} = {actors.count * actors.gpus}; it is {ranks.count}"
        )
    return replace(actors, guests=ranks)


def apart(asks: Sequence[Ask]) -> list[Ask]:
    """The same processes, each on its own."""
    pairs = [(replace(ask, guests=None), ask.guests) for ask in asks]
    return [ask for pair in pairs for ask in pair if ask]


def shortfall(asks: Sequence[Ask], gpus_of_nodes: Sequence[int]) -> str:
    """What the nodes' GPUs do not suffice for, as a sentence; "" if everything fits.

    Nodes without GPUs are never short: on CPUs the roles take turns on all cores.
    """
    if not any(gpus_of_nodes):
        return ""
    have = f"the cluster has {sum(gpus_of_nodes)}, by node {sorted(gpus_of_nodes, reverse=True)}"
    if sum(ask.count * ask.gpus for ask in asks) > sum(gpus_of_nodes):
        return f"the run needs GPUs: {' and '.join(map(str, asks))}; {have}"
    left = list(gpus_of_nodes)
    # The largest first, each on the fullest node that still has room.
    for ask in sorted(asks, key=lambda ask: -ask.gpus):
        for _ in range(ask.count):
            roomy = [node for node, free in enumerate(left) if free >= ask.gpus]
            if not roomy:
                return f"a {ask.role} needs {ask.gpus} GPUs of one node; {have}"
            left[min(roomy, key=left.__getitem__)] -= ask.gpus
    return ""


def threads_each(cores: int, count: int, num_nodes: int) -> int:
    """CPU threads for each of `count` like processes that run at once, spread over the nodes."""
    return max(1, cores // -(-count // num_nodes))
