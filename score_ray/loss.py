"""Weighted token log-probs, as sums: whoever has the global count divides.

Shapes: B rows, T tokens, A attempts, M scored positions, V vocabulary.
"""

from collections.abc import Iterable

from torch import Tensor
from torch.nn.functional import cross_entropy


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Log-probs [M] of targets [M] under softmax(logits [M, V] / temperature), in float32."""
    return -cross_entropy(logits.float() / temperature, targets, reduction="none")


def attempt_sums(values: Tensor, turn_ids: Tensor, num_attempts: int) -> Tensor:
    """Sum values [B, T] over the tokens of each attempt: [B, A]."""
    sums = values.new_zeros(values.shape[0], num_attempts + 1)
    return sums.scatter_add(1, turn_ids, values)[:, 1:]


def weighted_loss(logprobs: Tensor, turn_ids: Tensor, weights: Tensor) -> Tensor:
    """- sum over tokens of weight[turn] * logprob, from [B, T], [B, T] and [B, A].

    REINFORCE where the weights are advantages, a fit to the rows where they are 1. A sum,
    not a mean: divided by the number of episodes of the whole iteration it gives the
    same gradient however rows are split into micro-batches and ranks. Context tokens (turn
    0) get none.
    """
    return -(weights * attempt_sums(logprobs, turn_ids, weights.shape[1])).sum()


def merge(parts: Iterable[dict[str, tuple[float, float]]]) -> dict[str, float]:
    """Add (sum, count) pairs by key and divide once; a count of 0 gives 0.0."""
    totals: dict[str, tuple[float, float]] = {}
    for part in parts:
        for key, (value, count) in part.items():
            before = totals.get(key, (0.0, 0.0))
            totals[key] = (before[0] + value, before[1] + count)
    return {key: value / count if count else 0.0 for key, (value, count) in totals.items()}
