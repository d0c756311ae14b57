"""Settings for every test and all processes that it starts, and how tests are spread out."""

import os
import sys
from pathlib import Path

# One ninja for all: two of different versions would each compile DeepSpeed's extension anew.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
# As score_ray.runtime.ray_session does: a test that imports Ray itself may come first.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# The models of tests are tiny: threads would spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Every Ray would start a worker for each core before anyone asks for one, and collect statistics.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
os.environ.setdefault("RAY_enable_metrics_collection", "0")

import pytest

from tests.support.deepspeed_extension import compile_extension
from tests.support.shared_ray import (  # noqa: F401
    private_ray,
    quick_workers,
    shared_cluster,
    shared_ray,
    worker_executable,
)

HEAVY = ("ray", "slow")
LONGEST = ("tests/end_to_end/", "tests/runtime/", "tests/cluster/")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process has much left at the end."""
    heavy = {item.path for item in items if any(map(item.get_closest_marker, HEAVY))}
    items.sort(key=lambda item: (item.path not in heavy, not item.nodeid.startswith(LONGEST)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have DeepSpeed's extension compiled before a test starts learners with a deadline."""
    if item.get_closest_marker("ray"):
        compile_extension()
