"""Ray: the actor processes around engines and learner ranks, and the handles on them.

Only this file imports Ray. The roles are plain classes; here they get a process, their
environment and a network address, and the loop gets objects it can call like local ones.
"""

import os
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from score_ray.batch import Row, shard
from score_ray.loss import merge
from score_ray.types import Episode, Problem, SamplingPlan
from score_ray.weights.probe import check


def start_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start a private one on this machine."""
    # Logs of healthy workers would drown the progress display; errors travel as exceptions.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Ray's workers would run at niceness 15: every other process would slow the run down.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(
            address="local",
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            **quiet,
        )


def stop_ray() -> None:
    """Leave the cluster; a private one ends with all its processes."""
    ray.shutdown()


class RolloutActor:
    """A process with one vLLM engine."""

    def __init__(self, engine_options: Any, make_prompter: Callable[[], Any]) -> None:
        from score_ray.sampler import Sampler

        self._prompter = make_prompter()
        self._sampler = Sampler(engine_options, self._prompter.stop_ids)

    def ready(self) -> bool:
        """Answers once the engine is up."""
        return True

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream episodes as they end."""
        from score_ray.rollout import sample

        yield from sample(self._sampler, self._prompter, problems, plan)

    def load_weights(self, packed: tuple[list, np.ndarray], version: int) -> None:
        """Serve the packed weights from now on."""
        entries, buffer = packed
        self._sampler.load_weights(entries, buffer, version)

    def score(self, rows: list[tuple[int, ...]]) -> list[list[float]]:
        """Log-probs of the probe rows."""
        return self._sampler.score(rows)

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

    def address(self) -> tuple[str, int]:
        """A host and a free port where the ranks can meet."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def start(self, host: str, port: int) -> None:
        """Join the other ranks and load the models."""
        options, rank, num_ranks = self._identity
        os.environ |= {
            "MASTER_ADDR": host,
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "WORLD_SIZE": str(num_ranks),
            "LOCAL_RANK": "0",
        }
        from score_ray.learner import Learner

        self._learner = Learner(options, rank, num_ranks)

    def peak_memory(self) -> float:
        """Of this process, in GiB."""
        return peak_memory()

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the learner by name."""
        return getattr(self._learner, method)(*args)


class RolloutPool:
    """All rollout actors; problem i of an iteration belongs to actor i mod N."""

    def __init__(
        self, num_actors: int, engine_options: Any, make_prompter: Callable[[], Any]
    ) -> None:
        remote = ray.remote(RolloutActor).options(**_resources(), scheduling_strategy="SPREAD")
        self._actors = [remote.remote(engine_options, make_prompter) for _ in range(num_actors)]

    def wait_ready(self) -> None:
        """Return when every engine is up."""
        ray.get([actor.ready.remote() for actor in self._actors])

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream episodes as they end, from whichever actor has some."""
        streams: list[Any] = [
            actor.sample.options(num_returns="streaming").remote(
                problems[number :: len(self._actors)], plan
            )
            for number, actor in enumerate(self._actors)
        ]
        while streams:
            ready, _ = ray.wait(streams, num_returns=1)
            stream: Any = ready[0]
            try:
                yield ray.get(next(stream))
            except StopIteration:
                streams.remove(stream)

    def load_weights(self, packed: Any, version: int) -> None:
        """Have every engine load the buffer behind the reference; Ray shares it per node."""
        ray.get([actor.load_weights.remote(packed, version) for actor in self._actors])

    def score(self, rows: list[tuple[int, ...]]) -> list[list[list[float]]]:
        """Each engine's log-probs of the rows."""
        return ray.get([actor.score.remote(rows) for actor in self._actors])

    def offline_seconds(self, episodes: Sequence[Episode]) -> float:
        """Seconds of vLLM's own offline generation, each actor on its share."""
        count = len(self._actors)
        shares = [
            actor.offline_seconds.remote([e for e in episodes if e.problem.index % count == number])
            for number, actor in enumerate(self._actors)
        ]
        return max(ray.get(shares))

    def peak_memory(self) -> dict[str, float]:
        """GiB per rollout actor."""
        peaks = ray.get([actor.peak_memory.remote() for actor in self._actors])
        return {f"rollout actor {i}": peak for i, peak in enumerate(peaks)}


class LearnerGroup:
    """All learner ranks, called together."""

    def __init__(self, num_ranks: int, options: Any, tokens_per_micro_batch: int) -> None:
        self._budget = tokens_per_micro_batch
        remote = ray.remote(LearnerRank).options(**_resources(), scheduling_strategy="SPREAD")
        self._ranks = [remote.remote(options, rank, num_ranks) for rank in range(num_ranks)]
        host, port = ray.get(self._ranks[0].address.remote())
        self._started = [rank.start.remote(host, port) for rank in self._ranks]

    def wait_ready(self) -> None:
        """Return when every rank has joined and loaded its models."""
        ray.get(self._started)

    def reference_sums(self, rows: Sequence[Row], num_attempts: int) -> np.ndarray:
        """[rows, attempts] sums of the reference's log-probs."""
        shared = ray.put(rows)
        found = self._all("reference_sums", lambda share: (shared, share, num_attempts), rows)
        sums = np.zeros((len(rows), num_attempts))
        for part in found:
            for index, values in part.items():
                sums[index] = values
        return sums

    def update(
        self, rows: Sequence[Row], advantages: np.ndarray, iteration: int
    ) -> dict[str, float]:
        """One optimiser step on all rows; the merged metrics."""
        shared = ray.put(rows)
        return merge(
            self._all("update", lambda share: (shared, advantages, share, iteration), rows)
        )

    def score(self, rows: list[tuple[int, ...]]) -> list[list[float]]:
        """The policy's log-probs of the rows."""
        return self._call("score", rows)[0]

    def packed_weights(self) -> Any:
        """A reference to the packed policy in the object store."""
        refs = [rank.call.remote("packed_weights") for rank in self._ranks]
        ray.wait(refs, num_returns=len(refs), fetch_local=False)
        return refs[0]

    def save(self, folder: Path) -> None:
        """Write policy and optimiser of every rank."""
        self._call("save", folder)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self._call("restore", folder)

    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face model folder."""
        self._call("export", folder)

    def sizes(self) -> dict[str, int]:
        """Weights of the policy's body and of its output head."""
        return self._call("sizes")[0]

    def peak_memory(self) -> dict[str, float]:
        """GiB per learner rank."""
        peaks = ray.get([rank.peak_memory.remote() for rank in self._ranks])
        return {f"learner rank {i}": peak for i, peak in enumerate(peaks)}

    def _all(self, method: str, arguments: Callable, rows: Sequence[Row]) -> list:
        shares = shard([len(row.token_ids) for row in rows], len(self._ranks), self._budget)
        return ray.get(
            [
                rank.call.remote(method, *arguments(share))
                for rank, share in zip(self._ranks, shares, strict=True)
            ]
        )

    def _call(self, method: str, *args: Any) -> list:
        return ray.get([rank.call.remote(method, *args) for rank in self._ranks])


class Channel:
    """The weights' way from learner to engines, checked on fixed probe rows each time."""

    def __init__(
        self, learner: LearnerGroup, pool: RolloutPool, probe: list[tuple[int, ...]], bound: float
    ) -> None:
        self._learner, self._pool, self._probe, self._bound = learner, pool, probe, bound
        self._before: list[list[float]] | None = None

    def broadcast(self, version: int) -> float:
        """Send the policy to every engine; the largest mean log-prob difference, in nats.

        Raises WeightMismatch when an engine does not serve what was sent.
        """
        self._pool.load_weights(self._learner.packed_weights(), version)
        expected = self._learner.score(self._probe)
        gaps = [
            check(scores, expected, self._before, self._bound, f"rollout actor {number}")
            for number, scores in enumerate(self._pool.score(self._probe))
        ]
        self._before = expected
        return max(gaps)


def peak_memory() -> float:
    """The most memory this process has held at once, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _resources() -> dict[str, Any]:
    """A GPU each where there are GPUs; on CPUs the roles take turns on all cores."""
    if ray.cluster_resources().get("GPU", 0):
        return {"num_gpus": 1}
    threads = str(os.cpu_count() or 1)
    return {"num_cpus": 0, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": threads}}}
