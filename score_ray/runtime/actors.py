"""The Ray actors of a run: each is a process around an engine or around a learner rank."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from score_ray.runtime.engine_client import EngineClient, Recipients
from score_ray.runtime.ray_library import RayError, ray
from score_ray.types import Episode, PeerLost, Problem, SamplingPlan
from score_ray.weights.backend import NCCL

# Ray imports this module before an actor starts. Torch must come later: `join` and `start` first
# set environment variables that it reads.
if TYPE_CHECKING:
    import numpy as np

    from score_ray.algorithm.batch import Row

# References to the parts of the weights, their version, and the rows to be scored with them.
LoadedWeights = tuple[Sequence[Any], int, list[tuple[int, ...]]]


class RolloutActor:
    """A process with one vLLM engine."""

    def __init__(self, setup: Any, make_prompter: Callable[[], Any]) -> None:
        self._setup, self._make_prompter = setup, make_prompter

    def join(self, weights: LoadedWeights | None, gpus: str = "") -> list[list[float]]:
        """Start the engine, load the current weights if there are any, and return their scores.

        `gpus` is CUDA_VISIBLE_DEVICES where Ray does not set it. The constructor does not do this,
        because an error there would look like the death of the process.
        """
        _use_gpus(gpus)
        _use_network_of_node()
        from score_ray.rollout.engine import VllmEngine

        self._prompter = self._make_prompter()
        self._engine = VllmEngine(self._setup, self._prompter.stop_ids)
        if not weights:
            return []
        parts, version, rows = weights
        self.load_weights(parts, version)
        return self.score(rows)

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream episodes as they end, and empty lists as signs of life."""
        from score_ray.rollout.episodes import sample

        try:
            yield from sample(self._engine, self._prompter, problems, plan)
        finally:
            self._engine.clear()

    def load_weights(self, parts: Sequence[Any], version: int) -> None:
        """Serve the weights behind these references from now on."""
        # Fetch all parts into the node's shared memory before the first replaces any weight.
        self._engine.load_weights([_fetch_part(part) for part in parts], version)

    def link(self, init_info: dict[str, Any]) -> None:
        """Set up a direct transfer from the learner."""
        self._engine.link(init_info)

    def start_update(self) -> None:
        """Prepare the weights for replacement."""
        self._engine.start_update()

    def receive(self, update_info: Any) -> None:
        """Receive a part of the weights in a direct broadcast."""
        self._engine.receive(update_info)

    def finish_update(self, version: int) -> None:
        """Serve the weights that were received."""
        self._engine.finish_update(version)

    def score(self, rows: list[tuple[int, ...]]) -> list[list[float]]:
        """Return the log-probs of every token of each row but the first."""
        return self._engine.score(rows)

    def sleep(self) -> None:
        """Leave the GPU; the next call that needs the GPU takes it again."""
        self._engine.sleep()

    def run(self, function: Callable, *args: Any) -> Any:
        """Return what a function gives for the engine and these arguments, for measurements."""
        return function(self._engine, *args)


@contextmanager
def _raising_peer_lost() -> Iterator[None]:
    """Raise PeerLost for the errors that a collective raises when another rank is gone."""
    try:
        yield
    except RuntimeError as error:
        from torch.distributed import DistError

        if isinstance(error, DistError) or "gloo" in str(error).lower():
            raise PeerLost(f"lost contact with its peers ({error})") from error
        raise


class LearnerRank:
    """A process with one DeepSpeed rank; its methods raise PeerLost if another one is gone."""

    def __init__(self, setup: Any, rank: int, num_ranks: int) -> None:
        self._setup, self._rank, self._num_ranks = setup, rank, num_ranks
        self._sender: Any = None

    def rendezvous_address(self) -> tuple[str, int]:
        """Return a host and an open port where the ranks can find each other; for rank 0."""
        # The socket is bound to this node's address: on a private cluster that is loopback.
        host = ray.util.get_node_ip_address()
        self._listener = socket.create_server((host, 0))
        return host, self._listener.getsockname()[1]

    def start(self, rendezvous: tuple[str, int], gpus: str = "") -> None:
        """Join the other ranks and load the models.

        `gpus` is CUDA_VISIBLE_DEVICES where Ray does not set it.
        """
        _use_gpus(gpus)
        rank, num_ranks = self._rank, self._num_ranks
        os.environ |= {"LOCAL_RANK": "0", "RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
        # Torch rounds pinned memory up to powers of two, up to doubling that of sleeping weights.
        if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
            os.environ.setdefault("PYTORCH_ALLOC_CONF", "pinned_max_round_threshold_mb:1")
        _use_network_of_node()
        from score_ray.learner.learner import Learner
        from score_ray.learner.ranks import join_ranks

        listener = self._listener.detach() if rank == 0 else None
        with _raising_peer_lost():
            join_ranks(*rendezvous, rank, num_ranks, listener)
            self._learner = Learner(self._setup, rank, num_ranks)

    @_raising_peer_lost()
    def reference_sums(
        self, rows: "Sequence[Row]", shards: list[list[int]], num_attempts: int
    ) -> dict[int, list]:
        """Return the sums of the reference's log-probs for this rank's rows, by row index."""
        return self._learner.reference_sums(rows, shards, num_attempts)

    @_raising_peer_lost()
    def update(
        self,
        rows: "Sequence[Row]",
        advantages: "np.ndarray",
        shards: list[list[int]],
        iteration: int,
    ) -> dict[str, Any]:
        """Take one optimizer step on this rank's rows, and return its metrics."""
        return self._learner.update(rows, advantages, shards, iteration)

    @_raising_peer_lost()
    def score(self, rows: list[tuple[int, ...]]) -> list[list[float]]:
        """Return the policy's log-probs of every token of each row but the first."""
        return self._learner.score(rows)

    def packed_weights(self, part_bytes: int) -> Iterator[Any]:
        """Stream the policy in parts from rank 0; other ranks only help to gather them."""
        with _raising_peer_lost():
            yield from self._learner.packed_weights(part_bytes)

    @_raising_peer_lost()
    def send(
        self, backend: str, to: Recipients, buffer_bytes: int, seconds: float
    ) -> dict[str, str]:
        """Send the policy to engines directly from rank 0, and return how each lost one was lost.

        Other ranks only help to gather the weights. Gives up after `seconds`.
        """
        client = EngineClient(to, backend == NCCL, seconds, lambda: self._sender.call_off())
        if self._sender is None:
            self._sender = self._make_sender(backend)
        self._sender.send(client, buffer_bytes)
        return client.lost

    @_raising_peer_lost()
    def save(self, folder: Path) -> None:
        """Write this rank's share of policy and optimizer."""
        self._learner.save(folder)

    @_raising_peer_lost()
    def restore(self, folder: Path) -> None:
        """Load what `save` wrote."""
        self._learner.restore(folder)

    @_raising_peer_lost()
    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face model folder."""
        self._learner.export(folder)

    @_raising_peer_lost()
    def sleep(self) -> None:
        """Leave the GPU."""
        self._learner.sleep()

    @_raising_peer_lost()
    def wake(self) -> None:
        """Take the GPU again."""
        self._learner.wake()

    @_raising_peer_lost()
    def run(self, function: Callable, *args: Any) -> Any:
        """Return what a function gives for the learner and these arguments, for measurements."""
        return function(self._learner, *args)

    def _make_sender(self, backend: str) -> Any:
        from score_ray.weights.ipc import IpcSender
        from score_ray.weights.nccl import NcclSender

        sender_class = NcclSender if backend == NCCL else IpcSender
        return sender_class(self._learner.source(), self._rank, ray.util.get_node_ip_address())


def _fetch_part(part: Any) -> Any:
    try:
        return ray.get(part)
    except RayError as error:
        raise PeerLost(f"a part of the weights is lost ({type(error).__name__})") from error


def _use_gpus(gpus: str) -> None:
    """Set CUDA_VISIBLE_DEVICES, before this process first uses CUDA, which reads it once."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus


def _use_network_of_node() -> None:
    """Make process groups use the network interface of this node's address.

    By default they use the address that the host's name resolves to. On many machines that is
    loopback, which other nodes cannot reach; on a private cluster it may be a public one.
    """
    address = ray.util.get_node_ip_address()
    for interface, addresses in psutil.net_if_addrs().items():
        if any(known.address == address for known in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
