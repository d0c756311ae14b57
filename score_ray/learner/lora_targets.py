"""Finds the layers of a model that get a low-rank adapter, without the model's weights."""

from collections.abc import Sequence
from typing import Any

import torch

from score_ray.types import ConfigError


def target_layers(model: Any, targets: Sequence[str]) -> list[str]:
    """Return the full names of the targets; without any, of all linear layers but the head.

    A target is the last part of a layer's name, such as "q_proj", or a longer end of it. Raises
    ConfigError for a target that is no linear layer.
    """
    head = model.get_output_embeddings()
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    for target in targets:
        if not any(_fits(name, target) for name in layers):
            raise ConfigError(
                f"learner.lora.targets: {target!r} is no linear layer of this model; it has "
                f"{', '.join(_kinds(layers))} (its output head cannot have an adapter)"
            )
    return [n for n in layers if not targets or any(_fits(n, target) for target in targets)]


def target_kinds(model: str, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the last parts of the targets' names ("q_proj"), each once.

    Reads the model's config alone. Raises ConfigError as `target_layers`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    return _kinds(target_layers(empty, targets))


def _fits(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}")


def _kinds(layers: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({name.rpartition(".")[2] for name in layers}))
