"""The engine's side of the `object_store` weight transfer: any hardware, the CPU default.

The learner packs its weights into one flat buffer (source.py). Ray keeps the buffer in its
shared-memory object store, so every rollout actor of a node reads the same pages without a
copy, and this engine loads them through vLLM's start / update / finish protocol.
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
class InitInfo(WeightTransferInitInfo):
    """Nothing to agree on beforehand: each update describes itself."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """A packed model: where each tensor lies in the buffer."""

    entries: list[PackedTensor]
    buffer: np.ndarray


class TakesPacked:
    """What every engine of ours does: it loads a packed buffer, whatever else it can receive.

    An actor that replaces a lost one gets its first weights so, with any back end.
    """

    device: torch.device
    model: Any
    model_config: Any

    def parse_update_info(self, update_dict: dict[str, Any]) -> Any:
        """A packed update, or one of the back end's own."""
        if "buffer" in update_dict:
            return UpdateInfo(**update_dict)
        return super().parse_update_info(update_dict)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Load one update; unlike vLLM's base class, synchronise only where there is a device."""
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Any) -> None:
        """Hand every tensor of the buffer to the model's own loader."""
        if isinstance(update_info, UpdateInfo):
            self.model.load_weights(unpack(update_info.entries, update_info.buffer))
        else:
            super().receive_weights(update_info)

    def finish_weight_update(self) -> None:
        """Repack the layers for the kernels, the tied output head included.

        On a CPU the layerwise reload does not see that a tied `lm_head` shares the embedding's
        weights, and leaves its packed copy of them on the old ones without a word. On a GPU
        there is no such copy, and processing the head again does nothing.
        """
        super().finish_weight_update()
        head = getattr(self.model, "lm_head", None)  # Gemma's models have the embedding alone
        tied = getattr(self.model_config.hf_config, "tie_word_embeddings", False)
        if tied and head is not None:
            head.quant_method.process_weights_after_loading(head)


class LayerwiseReload(WeightTransferEngine[InitInfo, UpdateInfo]):
    """The frame of an update, as vLLM's own engines have it, and nothing to receive."""

    init_info_cls = InitInfo
    update_info_cls = UpdateInfo

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        """Nothing to set up: the object store is Ray's."""

    def start_weight_update(self) -> None:
        """Bring the layers back to their loadable form.

        CPU layers repack their weights for the kernels and drop the originals, so without
        this `load_weights` has nothing of the right shape to write to.
        """
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """Not reached: every update is a packed one."""
        raise TypeError(f"object_store: not a packed update: {type(update_info).__name__}")

    def finish_weight_update(self) -> None:
        """Back to the form that the kernels take."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing is held."""


class ObjectStoreEngine(TakesPacked, LayerwiseReload):
    """Loads a packed buffer into the running model, and nothing else."""
