"""Trains all weights of a model; `LoraWeights` in lora.py has the same methods."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from score_ray.weights.packing import describe, named_weights


class AllWeights:
    """A policy of which all weights are trained, and a frozen copy of its start as reference.

    The iterators are collectives under ZeRO-3.
    """

    adapter_only = False  # checkpoints hold the whole model
    load_weights = None  # DeepSpeed's own way of reading them

    def __init__(self, model: torch.nn.Module, reference: Any) -> None:
        self._model, self.frozen_copy = model, reference

    @contextmanager
    def as_reference(self, engine: Any) -> Iterator[Any]:
        """Yield the frozen reference; the engine, which holds the policy, is not used."""
        yield self.frozen_copy

    def whole(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every weight of the policy."""
        return named_weights(self._model)

    def describe(self) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Yield name, type and whole shape of every weight, without gathering them."""
        return describe(self._model)

    def broadcast(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the weights that engines are sent."""
        return self.whole()

    def export_adapter(self, folder: Path, write: bool) -> None:
        """Do nothing: there is no adapter."""
