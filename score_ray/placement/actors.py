"""The processes of a run: the roles are plain classes, here they get one each."""

import os
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from ray.exceptions import RayError

from score_ray.types import Episode, PeerLost, Problem, SamplingPlan


class RolloutActor:
    """A process with one vLLM engine."""

    def __init__(self, engine_options: Any, make_prompter: Callable[[], Any]) -> None:
        self._options, self._make_prompter = engine_options, make_prompter

    def join(self, weights: tuple | None) -> list[list[float]]:
        """Start the engine and load the current weights, if there are any yet.

        Not the constructor: an error there would look like a death of the process.
        """
        _use_network_of_node()
        from score_ray.sampler import Sampler

        self._prompter = self._make_prompter()
        self._sampler = Sampler(self._options, self._prompter.stop_ids)
        return self.load_weights(*weights) if weights else []

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream episodes as they end, and empty lists as signs of life."""
        from score_ray.rollout import sample

        try:
            yield from sample(self._sampler, self._prompter, problems, plan)
        finally:
            self._sampler.clear()

    def load_weights(
        self, parts: Sequence[Any], version: int, probe: list[tuple[int, ...]]
    ) -> list[list[float]]:
        """Serve the weights behind the references from now on; log-probs of the probe rows."""
        # All are at hand, in the node's shared memory, before the first replaces anything.
        self._sampler.load_weights([_read(part) for part in parts], version)
        return self._sampler.score(probe)

    def offline_seconds(self, episodes: list[Episode]) -> float:
        """What vLLM's own offline generation of the same attempts takes."""
        return self._sampler.offline_seconds(episodes)

    def peak_memory(self) -> float:
        """Of this process, in GiB."""
        return peak_memory()


class LearnerRank:
    """A process with one DeepSpeed rank."""

    def __init__(self, options: Any, rank: int, num_ranks: int) -> None:
        self._identity = (options, rank, num_ranks)

    def meeting_point(self) -> tuple[str, int]:
        """A host and an open port where the ranks can meet; of rank 0."""
        # Bound to this node's own address: on a private cluster that is loopback.
        host = ray.util.get_node_ip_address()
        self._listener = socket.create_server((host, 0))
        return host, self._listener.getsockname()[1]

    def start(self, meeting_point: tuple[str, int]) -> None:
        """Join the other ranks and load the models."""
        options, rank, num_ranks = self._identity
        os.environ |= {"LOCAL_RANK": "0", "RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
        _use_network_of_node()
        from score_ray.learner import Learner, join_ranks

        listener = self._listener.detach() if rank == 0 else None
        with _needing_peers():
            join_ranks(*meeting_point, rank, num_ranks, listener)
            self._learner = Learner(options, rank, num_ranks)

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the learner by name; PeerLost if another rank is out of reach."""
        with _needing_peers():
            return getattr(self._learner, method)(*args)

    def weights(self, part_bytes: int) -> Iterator[Any]:
        """The policy in parts, of rank 0 alone; the others take part in gathering them."""
        with _needing_peers():
            yield from self._learner.packed_weights(part_bytes)

    def peak_memory(self) -> float:
        """Of this process, in GiB."""
        return peak_memory()


def peak_memory() -> float:
    """The most memory this process has held at once, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _read(part: Any) -> Any:
    try:
        return ray.get(part)
    except RayError as error:
        raise PeerLost(f"a part of the weights is lost ({type(error).__name__})") from error


@contextmanager
def _needing_peers() -> Iterator[None]:
    """What a collective raises when another rank is gone, by its name."""
    try:
        yield
    except RuntimeError as error:
        from torch.distributed import DistError

        if isinstance(error, DistError) or "gloo" in str(error).lower():
            raise PeerLost(f"lost contact with its peers ({error})") from error
        raise


def _use_network_of_node() -> None:
    """Have process groups use the network of this node's own address.

    Left to themselves they take what the host's name resolves to, which on many machines is
    loopback, reached by nobody else, and on a private cluster may be more than loopback.
    """
    address = ray.util.get_node_ip_address()
    for name, found in psutil.net_if_addrs().items():
        if any(one.address == address for one in found):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
