"""One Ray for all tests of a process that need no Ray of their own: starting it takes seconds."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import forked_workers

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray reads a job's runtime environment from it


class SharedCluster:
    """A Ray on this machine that starts when it is first asked for."""

    def __init__(self) -> None:
        self._cluster: Any = None

    def address(self) -> str:
        """Return the address, and start the Ray unless it runs."""
        if self._cluster is None:
            from score_ray.runtime.ray_session import KEEP_VISIBLE, _usable_gpus
            from ray.cluster_utils import Cluster  # isort: skip

            os.environ.setdefault(KEEP_VISIBLE, "0")
            os.environ.setdefault("RAY_worker_niceness", "0")
            head = {"num_cpus": os.cpu_count(), "include_dashboard": False, **_usable_gpus()}
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
        return self._cluster.address

    def close(self) -> None:
        """End the Ray; the next call of `address` starts another one."""
        if self._cluster is not None:
            self._cluster.shutdown()
            self._cluster = None


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[SharedCluster]:
    cluster = SharedCluster()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def worker_executable() -> Iterator[str]:
    """The command that Ray starts workers with: forks of a process with all imports done."""
    from torch.backends import cuda

    if cuda.is_built():
        yield sys.executable
        return
    with tempfile.TemporaryDirectory() as folder:
        program, path = forked_workers.__file__, str(Path(folder) / "socket")
        server = subprocess.Popen([sys.executable, program, "serve", path])
        while not Path(path).exists():
            assert server.poll() is None
            time.sleep(0.1)
        yield shlex.join([sys.executable, "-SE", program, path])
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def quick_workers(worker_executable: str) -> Iterator[None]:
    """While a module's tests run, Ray's workers are such forks."""
    job = {"runtime_env": {"py_executable": worker_executable}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(JOB_CONFIG, json.dumps(job))
        yield


@pytest.fixture(scope="module")
def shared_ray(shared_cluster: SharedCluster, quick_workers: None) -> Iterator[None]:
    """While a module's tests run, whatever starts Ray joins the shared one instead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", shared_cluster.address())
        yield


@pytest.fixture(scope="module")
def private_ray(shared_cluster: SharedCluster, quick_workers: None) -> None:
    """A module's tests start their own Ray in this process.

    Ray cannot go back from it to the Ray that the process had joined before, so that one ends.
    """
    shared_cluster.close()


def without_shared_ray() -> dict[str, str]:
    """Return the environment of a program that starts its own Ray."""
    return {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", JOB_CONFIG)}
