"""Reads the sizes of a model from its Hugging Face config, without its weights."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from score_ray.learner.attention import caps_scores
from score_ray.planning.hub import check_hub
from score_ray.types import ConfigError


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers that describe a decoder."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    norms: int  # normalisations in each layer
    parameters: int  # all weights, tied ones counted once
    linears: tuple[tuple[str, int], ...]  # kind of linear layer, inputs + outputs over all layers
    capped: bool = False  # attention scores are bounded, which sdpa cannot do

    @property
    def head(self) -> int:
        """Weights of the output head, which runs on sampled tokens alone."""
        return self.vocabulary * self.hidden

    @property
    def body(self) -> int:
        """Weights that every token passes through: all but embedding and output head."""
        return self.parameters - self.head * (1 if self.tied else 2)

    def adapter(self, rank: int, targets: tuple[str, ...] = ()) -> int:
        """Return the weights of low-rank adapters on the named kinds of layers, or on all if empty.

        A layer of n inputs and m outputs gets rank * (n + m) of them (arXiv 2106.09685).
        """
        ends = [target.rpartition(".")[2] for target in targets]
        return rank * sum(size for name, size in self.linears if not ends or name in ends)


def read_shape(model: str, named: str) -> ModelShape:
    """Return the shape of a model folder or Hugging Face name.

    Raises ConfigError, which calls the model `named`, if its config does not load, or if the hub
    cannot be reached.
    """
    from transformers import AutoConfig

    check_hub(model)
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
    """Return the shape that a Hugging Face config describes; weights are counted, not allocated.

    Raises ConfigError if it describes no decoder.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
        text = config.get_text_config()
        heads = text.num_attention_heads
        return ModelShape(
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
            heads=heads,
            kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
            vocabulary=text.vocab_size,
            tied=text.tie_word_embeddings,
            norms=_norms(model, text.hidden_size) // text.num_hidden_layers,
            parameters=sum(p.numel() for p in model.parameters()),
            linears=_linears(model, torch.nn.Linear),
            capped=caps_scores(config),
        )
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"model.path: {named} is not a decoder that can be planned: {error}"
        ) from (error)


def _norms(model: Any, hidden: int) -> int:
    """Count the normalisations; dividing by the number of layers drops the one after the last."""
    return sum(p.shape == (hidden,) and "norm" in name for name, p in model.named_parameters())


def _linears(model: Any, kind: type) -> tuple[tuple[str, int], ...]:
    sizes: Counter[str] = Counter()
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, kind) and module is not head:
            sizes[name.rpartition(".")[2]] += module.in_features + module.out_features
    return tuple(sizes.items())
