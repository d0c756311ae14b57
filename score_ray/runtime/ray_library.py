"""The one place that imports Ray, after setting what Ray reads when it is imported.

A private Ray listens on every interface of the machine unless the variable below is set before
the import. It is meant for other systems, but keeps Ray to the loopback interface on all.
Everything in this room that starts Ray or joins it takes it from here, so the order of its
imports does not matter. Only ray_jobs.py, which starts none, imports Ray's client by itself.
"""

import os

if os.environ.get("RAY_ADDRESS", "") in ("", "local"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# Under `uv run` Ray would start its workers by that command again, in an environment without the
# packages, and wait for them without end. They run in the driver's environment instead.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

import ray
from ray._private.services import canonicalize_bootstrap_address as find_cluster
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

__all__ = [
    "GetTimeoutError",
    "PlacementGroupSchedulingStrategy",
    "RayError",
    "RayTaskError",
    "find_cluster",
    "ray",
]
