"""Chooses the back end of the weight transfer from the config and the hardware."""

from score_ray.types import ConfigError

OBJECT_STORE, NCCL, IPC = "object_store", "nccl", "ipc"


def choose_backend(wanted: str, on_gpu: bool, share_gpus: bool, adapter: bool = False) -> str:
    """Return the back end for `weights.backend`; for "auto" the fastest that works here.

    An `adapter` that is sent alone is small, and always goes through the object store. Raises
    ConfigError for a back end that cannot work: NCCL refuses two processes of a communicator on
    one GPU, and CUDA's shared memory does not reach from one GPU's processes to another's.
    """
    if adapter and wanted not in ("auto", OBJECT_STORE):
        raise ConfigError(
            f"weights.backend: {wanted} sends whole weights; an adapter sent alone goes through "
            "the object store: set weights.backend to auto or object_store, or "
            "learner.lora.broadcast=merged"
        )
    if adapter:
        return OBJECT_STORE
    if wanted == "auto":
        return OBJECT_STORE if not on_gpu else IPC if share_gpus else NCCL
    if wanted != OBJECT_STORE and not on_gpu:
        raise ConfigError(
            f"weights.backend: {wanted} needs GPUs, and there are none; set auto or object_store"
        )
    if wanted == IPC and not share_gpus:
        raise ConfigError(
            "weights.backend: ipc needs engines and learner ranks on the same GPUs; set "
            "rollout.share_gpus=true, or weights.backend to auto, nccl or object_store"
        )
    if wanted == NCCL and share_gpus:
        raise ConfigError(
            "weights.backend: nccl needs engines and learner ranks on different GPUs; set "
            "rollout.share_gpus=false, or weights.backend to auto, ipc or object_store"
        )
    return wanted
