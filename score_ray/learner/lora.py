"""Low-rank adapters (LoRA, arXiv 2106.09685): W + alpha / rank * B @ A, with W frozen.

peft puts the layers into the model in place, so the model keeps its class and its forward.
B starts at zero: the policy starts as the base model, and with the adapter off it stays the
base model for the whole run, which makes it its own reference. Adapters are float32 beside
a bfloat16 base: an update is far smaller than the distance between two bfloat16 numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from score_ray.learner.lora_targets import target_layers
from score_ray.learner.options import LearnerOptions
from score_ray.weights.packing import gathered

NAME = "default"  # peft's name of the only adapter
PREFIX = "base_model.model."  # of every name in an adapter file
FACTORS = {"lora_A", "lora_B"}
SEED = 0  # of A's first values


def with_adapter(model: torch.nn.Module, options: LearnerOptions) -> torch.nn.Module:
    """The model with an adapter on the targets, the only part that has gradients; in place.

    A's first values are the same in every process. Raises ConfigError for a target that is
    not there.
    """
    config = LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,  # type: ignore[arg-type]
        target_modules=target_layers(model, options.lora_targets),
        lora_dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = inject_adapter_in_model(config, model)
    for parameter in trainable(model):
        parameter.data = parameter.data.float()
    return model


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that an optimizer should have: those that are not frozen."""
    return [p for p in model.parameters() if p.requires_grad]


@contextmanager
def without_adapter(model: torch.nn.Module) -> Iterator[None]:
    """Within this, the model is the base model, to the bit: the reference."""
    layers = list(_layers(model).values())
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight under the base model's name, the adapter added in, one layer at a time.

    The sum is computed in float32 and rounded once, to the base's type. As `named_weights`:
    a collective under ZeRO-3, tied weights once, and a tensor holds until the next is taken.
    """
    for name, parameter, layer in _base_parameters(model):
        with gathered([parameter, *(_factors(layer) if layer else ())]):
            yield name, _merged(layer) if layer else parameter.data


def described(model: torch.nn.Module) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
    """Name, type and whole shape of what `merged_weights` gives; nothing is gathered for it."""
    for name, parameter, _ in _base_parameters(model):
        yield name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape))


def adapter_weights(
    model: torch.nn.Module, scaled: bool = True
) -> Iterator[tuple[str, torch.Tensor]]:
    """A and B of every layer, float32, under the names of an adapter file.

    `scaled`: B times alpha / rank, so that whoever gets the tensors needs no further number
    (alpha = rank). A collective under ZeRO-3.
    """
    for path, layer in _layers(model).items():
        a, b = _factors(layer)
        with gathered([a, b]):
            yield f"{PREFIX}{path}.lora_A.weight", a.data
            yield f"{PREFIX}{path}.lora_B.weight", b.data * (layer.scaling[NAME] if scaled else 1)


def save_adapter(
    model: torch.nn.Module, options: LearnerOptions, folder: Path, write: bool
) -> None:
    """Write the adapter as peft reads it; every rank takes part, the one with `write` writes."""
    weights = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in adapter_weights(model, scaled=False)
    }
    if not write:
        return
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=options.model,
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,  # type: ignore[arg-type]
        target_modules=list(_layers(model)),
        inference_mode=True,
    ).save_pretrained(str(folder))


def load_trainable(src: dict[str, torch.Tensor], dst: torch.nn.Module) -> None:
    """Read a checkpoint without frozen weights into the model; for DeepSpeed's `custom_load_fn`.

    Raises RuntimeError if anything but frozen weights is missing, or something is left over.
    """
    found = dst.load_state_dict(src, strict=False)
    needed = {name for name, p in dst.named_parameters() if p.requires_grad}
    missing = needed & set(found.missing_keys)
    if missing or found.unexpected_keys:
        raise RuntimeError(
            f"the checkpoint is of another adapter: it lacks {sorted(missing)[:3]} and has "
            f"{sorted(found.unexpected_keys)[:3]}; was learner.lora changed?"
        )


def _layers(model: torch.nn.Module) -> dict[str, LoraLayer]:
    return {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}


def _base_parameters(
    model: torch.nn.Module,
) -> Iterator[tuple[str, torch.nn.Parameter, LoraLayer | None]]:
    """The base model's parameters under its own names, and the layer where one is adapted."""
    layers = _layers(model)
    for name, parameter in model.named_parameters():
        path, _, leaf = name.rpartition(".base_layer.")
        if path in layers:
            yield f"{path}.{leaf}", parameter, layers[path] if leaf == "weight" else None
        elif not FACTORS & set(name.split(".")):
            yield name, parameter, None


def _factors(layer: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """A [rank, inputs] and B [outputs, rank]."""
    return layer.lora_A[NAME].weight, layer.lora_B[NAME].weight


def _merged(layer: Any) -> torch.Tensor:
    weight = layer.get_base_layer().weight.data
    a, b = (factor.data.float() for factor in _factors(layer))
    return (weight.float() + layer.scaling[NAME] * (b @ a)).to(weight.dtype)
