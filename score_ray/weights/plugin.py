"""vLLM's entry point: it calls `register` in every process that starts an engine."""

from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

BACKEND = "object_store"


def register() -> None:
    """Make the `object_store` weight-transfer back end known to vLLM; safe to call twice."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(
            BACKEND, "score_ray.weights.object_store", "ObjectStoreEngine"
        )
