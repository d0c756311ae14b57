"""The size of a model as numbers, from its Hugging Face config alone: its weights are not read."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from score_ray.learner.attention import caps_scores
from score_ray.types import ConfigError


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder's numbers; `linears` holds (name, inputs + outputs over all layers) of its maps."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    norms: int  # of each layer
    parameters: int  # all weights, tied ones once
    linears: tuple[tuple[str, int], ...]
    capped: bool = False  # its attention scores, so that sdpa does not do

    @property
    def head(self) -> int:
        """Weights of the output head, which runs on drawn tokens alone."""
        return self.vocabulary * self.hidden

    @property
    def body(self) -> int:
        """Weights that every token passes through: all but embedding and output head."""
        return self.parameters - self.head * (1 if self.tied else 2)

    def adapter(self, rank: int, targets: tuple[str, ...] = ()) -> int:
        """Weights of low-rank adapters on the layers that are named, on all if none is.

        A map of n inputs and m outputs gets rank * (n + m) of them (arXiv 2106.09685).
        """
        ends = [target.rpartition(".")[2] for target in targets]
        return rank * sum(size for name, size in self.linears if not ends or name in ends)


def read_shape(model: str, named: str) -> ModelShape:
    """The shape of a model folder or hub name; ConfigError, with the name given, if none loads."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"model.path: {named} has no config that loads: {reason}; where no hub can be reached, "
            "model.path=FOLDER takes a folder that holds the model's config.json"
        ) from error
    return shape_of(config, named)


def shape_of(config: Any, named: str = "the model") -> ModelShape:
    """The shape of what a Hugging Face config describes; weights are counted, not made."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
        own = config.get_text_config()
        heads = own.num_attention_heads
        return ModelShape(
            layers=own.num_hidden_layers,
            hidden=own.hidden_size,
            intermediate=getattr(own, "intermediate_size", None) or 4 * own.hidden_size,
            heads=heads,
            kv_heads=getattr(own, "num_key_value_heads", None) or heads,
            head_size=getattr(own, "head_dim", None) or own.hidden_size // heads,
            vocabulary=own.vocab_size,
            tied=own.tie_word_embeddings,
            norms=_norms(model, own.hidden_size) // own.num_hidden_layers,
            parameters=sum(p.numel() for p in model.parameters()),
            linears=_linears(model, torch.nn.Linear),
            capped=caps_scores(config),
        )
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"model.path: {named} is no decoder that can be planned: {error}") from (
            error
        )


def _norms(model: Any, hidden: int) -> int:
    """Normalisations of all layers; the one at the end is lost in the division by layers."""
    return sum(p.shape == (hidden,) and "norm" in name for name, p in model.named_parameters())


def _linears(model: Any, kind: type) -> tuple[tuple[str, int], ...]:
    sizes: Counter[str] = Counter()
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, kind) and module is not head:
            sizes[name.rpartition(".")[2]] += module.in_features + module.out_features
    return tuple(sizes.items())
