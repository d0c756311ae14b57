"""Low-rank adapters (LoRA, arXiv 2106.09685): W + alpha / rank * B @ A, with W frozen.

peft puts the layers into the model in place, so the model keeps its class and its forward.
B starts at zero, so the policy starts as the base model. With the adapter switched off it is
the base model throughout the run, and serves as its own reference. Adapters are float32 even on
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

from score_ray.config.schema import AdapterConfig
from score_ray.learner.lora_targets import target_layers
from score_ray.learner.setup import LearnerSetup
from score_ray.weights.packing import gathered

NAME = "default"  # peft's name of the only adapter
PREFIX = "base_model.model."  # starts every name in an adapter file
FACTORS = {"lora_A", "lora_B"}
SEED = 0  # for A's initial values


class LoraWeights:
    """A policy of which only an adapter is trained; without the adapter it is the reference.

    The iterators are collectives under ZeRO-3.
    """

    adapter_only = True  # checkpoints leave the frozen weights out
    frozen_copy = None  # not needed

    def __init__(self, model: torch.nn.Module, setup: LearnerSetup) -> None:
        self._model, self._setup = with_adapter(model, setup.learner.lora), setup
        self.load_weights = load_trainable

    @contextmanager
    def as_reference(self, engine: Any) -> Iterator[Any]:
        """Make the engine compute the reference's log-probs within this context."""
        engine.eval()
        with without_adapter(self._model):
            yield engine

    def whole(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every weight of the policy, the adapter merged in."""
        return merged_weights(self._model)

    def describe(self) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Yield name, type and whole shape of every weight, without gathering them."""
        return describe(self._model)

    def broadcast(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the weights that engines are sent: the adapter, or the merged weights."""
        return adapter_weights(self._model) if self._setup.sends_adapter else self.whole()

    def export_adapter(self, folder: Path, write: bool) -> None:
        """Write the adapter as peft reads it, if `write`; a collective under ZeRO-3."""
        lora, base = self._setup.learner.lora, self._setup.model_folder
        save_adapter(self._model, lora, base, folder, write)


def with_adapter(model: torch.nn.Module, lora: AdapterConfig) -> torch.nn.Module:
    """Put an adapter on the target layers, in place; only the adapter has gradients.

    A's initial values are the same in every process. Raises ConfigError if a target is no layer
    of the model.
    """
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        target_modules=target_layers(model, lora.targets),
        lora_dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = inject_adapter_in_model(config, model)
    for parameter in trainable(model):
        parameter.data = parameter.data.float()
    return model


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters that are not frozen, which are those for the optimizer."""
    return [p for p in model.parameters() if p.requires_grad]


@contextmanager
def without_adapter(model: torch.nn.Module) -> Iterator[None]:
    """Make the model compute exactly what the base model computes within this context."""
    layers = list(_layers(model).values())
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every weight under the base model's name, the adapter merged in, layer by layer.

    The sum is computed in float32 and rounded once, to the base's type. As in `named_weights`,
    this is a collective under ZeRO-3, tied weights come once, and a tensor is valid until the
    next one is taken.
    """
    for name, parameter, layer in _base_parameters(model):
        with gathered([parameter, *(_factors(layer) if layer else ())]):
            yield name, _merged(layer) if layer else parameter.data


def describe(model: torch.nn.Module) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
    """Yield name, type and whole shape of each of `merged_weights`, without gathering them."""
    for name, parameter, _ in _base_parameters(model):
        yield name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape))


def adapter_weights(
    model: torch.nn.Module, scaled: bool = True
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield A and B of every layer, in float32, under their names in an adapter file.

    If `scaled`, B is multiplied by alpha / rank, so that the reader may take alpha = rank and
    needs no further number. A collective under ZeRO-3.
    """
    for path, layer in _layers(model).items():
        a, b = _factors(layer)
        with gathered([a, b]):
            yield f"{PREFIX}{path}.lora_A.weight", a.data
            yield f"{PREFIX}{path}.lora_B.weight", b.data * (layer.scaling[NAME] if scaled else 1)


def save_adapter(
    model: torch.nn.Module, lora: AdapterConfig, base: str, folder: Path, write: bool
) -> None:
    """Write the adapter of the model `base` as peft reads it.

    Every rank takes part, which is needed under ZeRO-3; the one with `write` writes.
    """
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
        base_model_name_or_path=base,
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        target_modules=list(_layers(model)),
        inference_mode=True,
    ).save_pretrained(str(folder))


def load_trainable(src: dict[str, torch.Tensor], dst: torch.nn.Module) -> None:
    """Load a checkpoint without frozen weights into a model; for DeepSpeed's `custom_load_fn`.

    Raises RuntimeError if a trained weight is missing, or the model does not know one.
    """
    differences = dst.load_state_dict(src, strict=False)
    needed = {name for name, p in dst.named_parameters() if p.requires_grad}
    missing = needed & set(differences.missing_keys)
    if missing or differences.unexpected_keys:
        raise RuntimeError(
            f"the checkpoint is of another adapter: it lacks {sorted(missing)[:3]} and has "
            f"{sorted(differences.unexpected_keys)[:3]}; was learner.lora changed?"
        )


def _layers(model: torch.nn.Module) -> dict[str, LoraLayer]:
    return {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}


def _base_parameters(
    model: torch.nn.Module,
) -> Iterator[tuple[str, torch.nn.Parameter, LoraLayer | None]]:
    """Yield the base model's parameters under its names, and the layer if it has an adapter."""
    layers = _layers(model)
    for name, parameter in model.named_parameters():
        path, _, leaf = name.rpartition(".base_layer.")
        if path in layers:
            yield f"{path}.{leaf}", parameter, layers[path] if leaf == "weight" else None
        elif not FACTORS & set(name.split(".")):
            yield name, parameter, None


def _factors(layer: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """Return A [rank, inputs] and B [outputs, rank]."""
    return layer.lora_A[NAME].weight, layer.lora_B[NAME].weight


def _merged(layer: Any) -> torch.Tensor:
    weight = layer.get_base_layer().weight.data
    a, b = (factor.data.float() for factor in _factors(layer))
    return (weight.float() + layer.scaling[NAME] * (b @ a)).to(weight.dtype)
