"""The processes of a run: the roles are plain classes, here they get one each."""

import os
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil
import ray
from ray.exceptions import RayError

from score_ray.runtime.engine_client import EngineClient, Recipients
from score_ray.types import Episode, PeerLost, Problem, SamplingPlan
from score_ray.weights.backend import NCCL


class PeakMemory(NamedTuple):
    """GiB of the node's memory, and of the GPU's by torch's count."""

    host: float
    gpu: float


class RolloutActor:
    """A process with one vLLM engine."""

    def __init__(self, engine_options: Any, make_prompter: Callable[[], Any]) -> None:
        self._options, self._make_prompter = engine_options, make_prompter

    def join(self, weights: tuple | None, gpus: str = "") -> list[list[float]]:
        """Start the engine and load the current weights, if there are any yet.

        `gpus` are those it is to use, where Ray does not see to that. Not the constructor: an
        error there would look like a death of the process.
        """
        _use_gpus(gpus)
        _use_network_of_node()
        from score_ray.rollout.engine import VllmEngine

        self._prompter = self._make_prompter()
        self._engine = VllmEngine(self._options, self._prompter.stop_ids)
        if not weights:
            return []
        parts, version, probe = weights
        self.load_weights(parts, version)
        return self.score(probe)

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream episodes as they end, and empty lists as signs of life."""
        from score_ray.rollout.episodes import sample

        try:
            yield from sample(self._engine, self._prompter, problems, plan)
        finally:
            self._engine.clear()

    def load_weights(self, parts: Sequence[Any], version: int) -> None:
        """Serve the weights behind the references from now on."""
        # All are at hand, in the node's shared memory, before the first replaces anything.
        self._engine.load_weights([_read(part) for part in parts], version)

    def engine(self, method: str, *args: Any) -> None:
        """Take a step of a direct broadcast: a method of the engine by name, for client.py."""
        getattr(self._engine, method)(*args)

    def score(self, rows: list[tuple[int, ...]]) -> list[list[float]]:
        """Log-probs of every token of each row but the first."""
        return self._engine.score(rows)

    def sleep(self) -> None:
        """Leave the GPU to others; the next call that needs it takes it again."""
        self._engine.sleep()

    def offline_seconds(self, episodes: list[Episode]) -> float:
        """What vLLM's own offline generation of the same attempts takes."""
        return self._engine.offline_seconds(episodes)

    def peak_memory(self) -> PeakMemory:
        """Of this process."""
        return peak_memory()


class LearnerRank:
    """A process with one DeepSpeed rank."""

    def __init__(self, options: Any, rank: int, num_ranks: int) -> None:
        self._identity = (options, rank, num_ranks)
        self._sender: Any = None

    def meeting_point(self) -> tuple[str, int]:
        """A host and an open port where the ranks can meet; of rank 0."""
        # Bound to this node's own address: on a private cluster that is loopback.
        host = ray.util.get_node_ip_address()
        self._listener = socket.create_server((host, 0))
        return host, self._listener.getsockname()[1]

    def start(self, meeting_point: tuple[str, int], gpus: str = "") -> None:
        """Join the other ranks and load the models.

        `gpus` is the one it is to use, where Ray does not see to that.
        """
        _use_gpus(gpus)
        options, rank, num_ranks = self._identity
        os.environ |= {"LOCAL_RANK": "0", "RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
        # What sleeps in the node's memory would take up to twice its size: powers of two.
        if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
            os.environ.setdefault("PYTORCH_ALLOC_CONF", "pinned_max_round_threshold_mb:1")
        _use_network_of_node()
        from score_ray.learner.learner import Learner
        from score_ray.learner.ranks import join_ranks

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

    def send(
        self, backend: str, to: Recipients, buffer_bytes: int, seconds: float
    ) -> dict[str, str]:
        """Send the policy to engines directly, from rank 0: who was lost on the way, and how.

        The others take part in gathering it. Gives up after `seconds`.
        """
        from score_ray.weights.ipc import IpcSender
        from score_ray.weights.nccl import NcclSender

        client = EngineClient(to, backend == NCCL, seconds)
        with _needing_peers():
            if self._sender is None:
                make = NcclSender if backend == NCCL else IpcSender
                host = ray.util.get_node_ip_address()
                self._sender = make(self._learner.source(), self._identity[1], host)
            self._sender.send(client, buffer_bytes)
        return client.lost

    def peak_memory(self) -> PeakMemory:
        """Of this process."""
        return peak_memory()


def peak_memory() -> PeakMemory:
    """The most memory this process has held at once."""
    import torch

    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    used = torch.cuda.is_initialized()
    return PeakMemory(host, torch.cuda.max_memory_reserved() / 2**30 if used else 0.0)


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


def _use_gpus(gpus: str) -> None:
    """CUDA looks at this once, when it is first used; nothing here has yet."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus


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
