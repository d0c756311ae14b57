"""The engine's side of a broadcast that sends an adapter alone.

vLLM reads an adapter from a folder. The folder is written into shared memory where the system
has some, and is removed as soon as the adapter is loaded.
"""

import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from safetensors.torch import save_file
from vllm.config.lora import MaxLoRARanks
from vllm.lora.request import LoRARequest

from score_ray.weights.packing import PackedTensor, unpack

SHARED_MEMORY = "/dev/shm"


def adapter_options(rank: int, targets: Sequence[str]) -> dict[str, Any]:
    """Return the options of `LLM` for one adapter on the target layers; {} for rank 0.

    `targets` are names such as "q_proj". Without them, vLLM would wrap the output head too, and
    could not score prompts.
    """
    if not rank:
        return {}
    # vLLM's kernels come in these ranks; a smaller adapter is padded with zeros.
    padded_rank = min(known for known in get_args(MaxLoRARanks) if known >= rank)
    return {
        "enable_lora": True,
        "max_loras": 1,
        "max_lora_rank": padded_rank,
        "lora_target_modules": list(targets),
    }


class Adapter:
    """The one adapter that an engine serves; pass `request` along with every request to it.

    Every load gets a new name. vLLM's prefix cache tells adapters apart by name and path, so it
    never serves keys and values of an older one.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._ids = itertools.count(1)
        self.request: LoRARequest | None = None

    def load(self, parts: Iterable[tuple[list[PackedTensor], np.ndarray]]) -> None:
        """Load the adapter in these packed parts, and serve it.

        Its tensors are named as in a PEFT adapter file; B is already scaled by alpha / rank.
        """
        weights = {name: tensor for part in parts for name, tensor in unpack(*part)}
        number = next(self._ids)
        with tempfile.TemporaryDirectory(prefix="score_ray_adapter_", dir=_fast_folder()) as folder:
            _write(weights, Path(folder))
            request = LoRARequest(f"adapter_{number}", number, folder)
            if not self._engine.add_lora(request):
                raise RuntimeError(f"vLLM did not load adapter {number}")
        if self.request is not None:
            self._engine.remove_lora(self.request.lora_int_id)
        self.request = request


def _write(weights: dict[str, torch.Tensor], folder: Path) -> None:
    save_file(weights, folder / "adapter_model.safetensors")
    rank = next(tensor.shape[0] for name, tensor in weights.items() if ".lora_A." in name)
    targets = sorted({name.split(".")[-3] for name in weights})
    config = {"r": rank, "lora_alpha": rank, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _fast_folder() -> str | None:
    """Return shared memory where there is some; None means the system's temporary folder."""
    return SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
