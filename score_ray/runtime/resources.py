"""Compares the GPUs that a run requests with those that a cluster has, without Ray."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from score_ray.config.config import Config


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """A request for processes of one role, each with some GPUs of one node.

    `colocated` are processes of another role, one on each of these GPUs.
    """

    role: str  # in the singular: "rollout actor"
    count: int
    gpus_each: int = 1
    colocated: Self | None = None

    @property
    def gpus(self) -> int:
        """Number of GPUs of all processes together."""
        return self.count * self.gpus_each

    def __str__(self) -> str:
        each = f" of {self.gpus_each} GPUs each" if self.gpus_each > 1 else ""
        other = self.colocated
        shared = f", shared with {other.count} {other.role}s" if other else ""
        return f"{self.gpus} for {self.count} {self.role}s{each}{shared}"


def actor_request(config: Config) -> ResourceRequest:
    """Return the request for the rollout actors of a run."""
    rollout = config.rollout
    return ResourceRequest("rollout actor", rollout.num_actors, rollout.tensor_parallel)


def rank_request(config: Config) -> ResourceRequest:
    """Return the request for the learner ranks of a run."""
    return ResourceRequest("learner rank", config.learner.num_ranks)


def training_requests(config: Config) -> list[ResourceRequest]:
    """Return the requests for both roles: a single one where they share GPUs.

    A config that shares GPUs has a rank for every GPU of its engines: `Config` checks that.
    """
    actors, ranks = actor_request(config), rank_request(config)
    return [replace(actors, colocated=ranks)] if config.rollout.share_gpus else [actors, ranks]


def separate(requests: Sequence[ResourceRequest]) -> list[ResourceRequest]:
    """Return requests for the same processes without sharing GPUs."""
    pairs = [(replace(request, colocated=None), request.colocated) for request in requests]
    return [request for pair in pairs for request in pair if request]


def shortfall(requests: Sequence[ResourceRequest], gpus_of_nodes: Sequence[int]) -> str:
    """Return a sentence that says which GPUs are missing; "" if everything fits.

    Nodes without GPUs are never short: on CPUs all roles use the same cores.
    """
    if not any(gpus_of_nodes):
        return ""
    have = f"the cluster has {sum(gpus_of_nodes)}, by node {sorted(gpus_of_nodes, reverse=True)}"
    if sum(request.gpus for request in requests) > sum(gpus_of_nodes):
        return f"the run needs GPUs: {' and '.join(map(str, requests))}; {have}"
    free_gpus = list(gpus_of_nodes)
    # Place the largest first, each on the fullest node that still has room.
    for request in sorted(requests, key=lambda request: -request.gpus_each):
        for _ in range(request.count):
            roomy = [node for node, free in enumerate(free_gpus) if free >= request.gpus_each]
            if not roomy:
                return f"a {request.role} needs {request.gpus_each} GPUs of one node; {have}"
            free_gpus[min(roomy, key=free_gpus.__getitem__)] -= request.gpus_each
    return ""


def threads_per_process(cores: int, count: int, num_nodes: int) -> int:
    """Return the CPU threads for each of `count` like processes, spread over nodes of `cores`."""
    return max(1, cores // -(-count // num_nodes))
