"""One Ray for all tests of a process that need no Ray of their own: starting it takes seconds."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """The address of a Ray on this machine that lasts as long as the tests do."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")
    # A private Ray sets "token" for the whole process, unless the mode is set. Then the process
    # would refuse the calls of this Ray, which has no token, and be taken for dead.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    head = {"num_cpus": os.cpu_count(), "num_gpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def shared_ray(ray_address: str) -> Iterator[None]:
    """While a module's tests run, whatever starts Ray joins the shared one instead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", ray_address)
        yield
