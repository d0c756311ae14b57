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

from score_ray.weights.source import Entry, unpack


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Nothing to agree on beforehand: each update describes itself."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """A packed model: where each tensor lies in the buffer."""

    entries: list[Entry]
    buffer: np.ndarray


class ObjectStoreEngine(WeightTransferEngine[InitInfo, UpdateInfo]):
    """Loads a packed buffer into the running model."""

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

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Load one update; unlike the base class, synchronise only where there is a device."""
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """Hand every tensor of the buffer to the model's own loader."""
        self.model.load_weights(unpack(update_info.entries, update_info.buffer))

    def finish_weight_update(self) -> None:
        """Repack the layers for the kernels, the tied output head included.

        The layerwise reload does not see that a tied `lm_head` shares the embedding's
        weights, and leaves it on the old ones without a word.
        """
        finalize_layerwise_reload(self.model, self.model_config)
        if getattr(self.model_config.hf_config, "tie_word_embeddings", False):
            head = self.model.lm_head
            head.quant_method.process_weights_after_loading(head)

    def shutdown(self) -> None:
        """Nothing is held."""
