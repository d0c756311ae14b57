"""What a run asks of a cluster against what the cluster has: plain numbers, no Ray."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """Processes of one role; `gpus` is what each needs at once, on one node."""

    role: str  # in the singular: "rollout actor"
    count: int
    gpus: int = 1

    def __str__(self) -> str:
        each = f" of {self.gpus} GPUs each" if self.gpus > 1 else ""
        return f"{self.count * self.gpus} for {self.count} {self.role}s{each}"


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
