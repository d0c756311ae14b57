"""vLLM's entry point: it calls `register` in every process that starts an engine."""

from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

# By weights.backend: the name that vLLM knows our engine by, its module and its class. vLLM has
# a "nccl" and an "ipc" of its own, from which ours derive.
ENGINES = {
    "object_store": ("object_store", "score_ray.weights.object_store", "ObjectStoreEngine"),
    "nccl": ("score_ray_nccl", "score_ray.weights.nccl", "NcclEngine"),
    "ipc": ("score_ray_ipc", "score_ray.weights.ipc", "IpcEngine"),
}


def register() -> None:
    """Make our weight-transfer back ends known to vLLM; safe to call twice."""
    for name, module, engine in ENGINES.values():
        if name not in WeightTransferEngineFactory._registry:
            WeightTransferEngineFactory.register_engine(name, module, engine)


def registered(backend: str) -> bool:
    """Whether vLLM knows the engine of a back end; it only logs a plug-in that fails to load."""
    return ENGINES[backend][0] in WeightTransferEngineFactory._registry
