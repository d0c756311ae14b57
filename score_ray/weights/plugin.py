"""The entry point that vLLM calls in every process that starts an engine."""

from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

# By weights.backend: vLLM's name for our engine, its module and its class. vLLM has engines
# named "nccl" and "ipc" itself, from which ours derive.
ENGINES = {
    "object_store": ("object_store", "score_ray.weights.object_store", "ObjectStoreEngine"),
    "nccl": ("score_ray_nccl", "score_ray.weights.nccl", "NcclEngine"),
    "ipc": ("score_ray_ipc", "score_ray.weights.ipc", "IpcEngine"),
}


def register() -> None:
    """Register our weight-transfer back ends with vLLM; safe to call twice."""
    for name, module, engine in ENGINES.values():
        if name not in WeightTransferEngineFactory._registry:
            WeightTransferEngineFactory.register_engine(name, module, engine)


def is_registered(backend: str) -> bool:
    """Return whether vLLM knows the engine of a back end.

    vLLM only logs a plug-in that fails to load.
    """
    return ENGINES[backend][0] in WeightTransferEngineFactory._registry
