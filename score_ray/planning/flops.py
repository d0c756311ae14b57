"""Counts the model's operations from its shape: 2 per weight and token of a forward pass.

A backward pass takes 4, or 2 if the weights are frozen under adapters, which need no gradient of
their own. The output head runs on sampled tokens alone. Attention is left out.
"""

from score_ray.config.config import Config
from score_ray.planning.model_shape import ModelShape

FORWARD = 2.0


def forward_flops(shape: ModelShape, tokens: float, sampled: float) -> float:
    """Return the operations of a forward pass over `tokens`, of which `sampled` are scored."""
    return FORWARD * (shape.body * tokens + shape.head * sampled)


def update_flops(config: Config, shape: ModelShape, tokens: float, sampled: float) -> float:
    """Return the operations of a forward and a backward pass, without recomputation."""
    backward = 2.0 if config.learner.lora.rank else 4.0
    return (FORWARD + backward) / FORWARD * forward_flops(shape, tokens, sampled)


def recomputed_flops(config: Config, shape: ModelShape, tokens: float, sampled: float) -> float:
    """Return the operations that an update repeats: activations if checkpointed, and logits."""
    again = tokens if config.learner.gradient_checkpointing else 0.0
    return forward_flops(shape, again, sampled)
