"""Loads DeepSpeed's extension for collectives on CPUs, which its first start compiles.

While torch compiles, it holds a lock that is nothing but a file. Where a run is killed meanwhile,
the file stays, and every later run would wait for it without end.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock

NAME = "deepspeed_shm_comm"
LOCK = "lock"  # torch's file in the folder where it compiles


def load_extension() -> None:
    """Load the extension into this process, and compile it first if that has not been done.

    On GPUs it is not used.
    """
    if torch.cuda.is_available():
        return
    # It chooses CPU or GPU for DeepSpeed, which asks when it is imported.
    import score_ray.learner.loading  # noqa: F401, I001
    from deepspeed.comm.torch import build_shm_op
    from torch.utils import cpp_extension

    use_own_ninja()
    folder = Path(cpp_extension._get_build_directory(NAME, verbose=False))
    build_past_lock(folder, build_shm_op)


def use_own_ninja() -> None:
    """Let this process find the environment's ninja first, whether or not it is activated.

    Another version of ninja would compile the extension anew, which takes minutes.
    """
    own = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([own, os.environ.get("PATH", os.defpath)])


def build_past_lock(folder: Path, build: Callable[[], object]) -> None:
    """Call `build`, one process at a time, after removing the lock of one that was killed.

    The lock of this function ends with the process that holds it.
    """
    with FileLock(f"{folder}.score-ray.lock"):
        (folder / LOCK).unlink(missing_ok=True)
        build()
