"""The engine's side of the `object_store` weight transfer: for any hardware, the CPU default.

The learner packs its weights into flat buffers (packing.py). Ray keeps each buffer in its
shared-memory object store, so every rollout actor of a node reads the same pages without a
copy, and this engine loads them by vLLM's start / update / finish protocol.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from score_ray.weights.packing import PackedTensor, unpack


@dataclass
class NoInitInfo(WeightTransferInitInfo):
    """An empty setup: each update describes itself."""


@dataclass
class PackedUpdate(WeightTransferUpdateInfo):
    """A packed part of a model: the buffer, and where each tensor lies in it."""

    entries: list[PackedTensor]
    buffer: np.ndarray


class PackedWeightsReceiver:
    """A mixin of all our weight-transfer engines: they load packed buffers, with any back end.

    An actor that replaces a lost one gets its first weights as packed buffers.
    """

    device: torch.device
    model: Any
    model_config: Any

    def parse_update_info(self, update_dict: dict[str, Any]) -> Any:
        """Return a packed update, or an update of the back end's own type."""
        if "buffer" in update_dict:
            return PackedUpdate(**update_dict)
        return super().parse_update_info(update_dict)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Load one update; unlike vLLM's base class, synchronize only on an accelerator."""
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Any) -> None:
        """Load a packed update with the model's own loader, others as the back end does."""
        if isinstance(update_info, PackedUpdate):
            self.model.load_weights(unpack(update_info.entries, update_info.buffer))
        else:
            super().receive_weights(update_info)

    def finish_weight_update(self) -> None:
        """Repack the layers for the kernels, the tied output head included.

        On a CPU the layerwise reload does not see that a tied `lm_head` shares the embedding's
        weights, and silently leaves the head's packed copy as it was. On a GPU there is no such
        copy, and processing the head again does nothing.
        """
        super().finish_weight_update()
        head = getattr(
            self.model, "lm_head", None
        )  # Gemma's models have no lm_head, only the embedding
        tied = getattr(self.model_config.hf_config, "tie_word_embeddings", False)
        if tied and head is not None:
            head.quant_method.process_weights_after_loading(head)


class LayerwiseReload(WeightTransferEngine[NoInitInfo, PackedUpdate]):
    """A mixin that starts and finishes an update as vLLM's own engines do."""

    init_info_cls = NoInitInfo
    update_info_cls = PackedUpdate

    def init_transfer_engine(self, init_info: NoInitInfo) -> None:
        """Do nothing: the object store needs no setup."""

    def start_weight_update(self) -> None:
        """Bring the layers back to their loadable form.

        CPU layers repack their weights for the kernels and drop the originals, so without
        this `load_weights` has nothing of the right shape to write to.
        """
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: PackedUpdate) -> None:
        """Raise TypeError; never called, since every update is a packed one."""
        raise TypeError(f"object_store: not a packed update: {type(update_info).__name__}")

    def finish_weight_update(self) -> None:
        """Bring the layers into the form that the kernels take."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Do nothing: there is nothing to free."""


class ObjectStoreEngine(PackedWeightsReceiver, LayerwiseReload):
    """The engine of the `object_store` back end, which loads packed buffers alone."""
