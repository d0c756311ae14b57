"""Weighted token log-probs, as sums: whoever has the global count divides.

Shapes: B rows, T tokens, A attempts, M scored positions, V vocabulary.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


class Maximum(float):
    """A measure of which the largest is kept, where others are added up."""


Measure = tuple[float, float] | Maximum  # a sum and its count; or a maximum


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Log-probs [M] of targets [M] under softmax(logits [M, V] / temperature), in float32."""
    return -cross_entropy(logits.float() / temperature, targets, reduction="none")


def attempt_sums(values: Tensor, turn_ids: Tensor, num_attempts: int) -> Tensor:
    """Sum values [B, T] over the tokens of each attempt: [B, A]."""
    sums = values.new_zeros(values.shape[0], num_attempts + 1)
    return sums.scatter_add(1, turn_ids, values)[:, 1:]


def weighted_loss(
    logprobs: Tensor, turn_ids: Tensor, weights: Tensor, importance: Tensor | None = None
) -> Tensor:
    """- sum over tokens of weight[turn] * logprob, from [B, T], [B, T] and [B, A].

    REINFORCE where the weights are advantages, a fit to the rows where they are 1. A sum,
    not a mean: divided by the number of episodes of the whole iteration it gives the
    same gradient however rows are split into micro-batches and ranks. Context tokens (turn
    0) get none. `importance` [B, T] weighs every token's term once more.
    """
    terms = logprobs if importance is None else logprobs * importance
    return -(weights * attempt_sums(terms, turn_ids, weights.shape[1])).sum()


def importance_weights(logprobs: Tensor, sampled: Tensor, bound: float) -> Tensor:
    """min(learner's probability / sampler's, bound) per token, without gradient.

    1 where the sampler did not draw the token here, that is where `sampled` is NaN. Truncated
    importance sampling at the level of tokens (Yao et al. 2025): tokens drawn from other
    weights, or by other kernels, give the gradient at the learner's own policy; the bound
    trades some of that for a variance that stays finite.
    """
    ratio = (logprobs.detach() - sampled).exp().clamp(max=bound)
    return torch.where(sampled.isnan(), torch.ones_like(ratio), ratio)


def mismatch(logprobs: Tensor, sampled: Tensor, drawn: Tensor) -> dict[str, Measure]:
    """How far the learner's log-probs are from the sampler's, over the `drawn` tokens.

    Mean and maximum of |learner - sampler|, and the k3 estimate of KL(sampler || learner) per
    token, exp(d) - 1 - d with d = learner - sampler (Schulman 2020): its expectation over
    tokens of the sampler is that KL, and no term of it is negative.
    """
    gap = (logprobs.detach() - sampled)[drawn]
    distance = gap.abs()
    count = float(gap.numel())
    wide = gap.double()  # the two nearly cancel
    return {
        "mismatch/sampled_mean_abs": (float(distance.sum()), count),
        "mismatch/sampled_max_abs": Maximum(distance.max() if count else 0.0),
        "mismatch/kl": (float((wide.expm1() - wide).sum()), count),
    }


def truncated(importance: Tensor, drawn: Tensor, bound: float) -> dict[str, Measure]:
    """The share of the `drawn` tokens whose importance weight is at its bound."""
    found = importance[drawn]
    return {"mismatch/truncated": (float((found >= bound).sum()), float(found.numel()))}


def add_up(parts: Iterable[Mapping[str, Measure]]) -> dict[str, Measure]:
    """Measures of several micro-batches or ranks as one: sums and counts added, maxima kept."""
    totals: dict[str, Measure] = {}
    for part in parts:
        for key, measure in part.items():
            least = Maximum("-inf") if isinstance(measure, Maximum) else (0.0, 0.0)
            totals[key] = _both(totals.get(key, least), measure)
    return totals


def merge(parts: Iterable[Mapping[str, Measure]]) -> dict[str, float]:
    """Add up measures by key and divide once; a count of 0 gives 0.0."""
    return {key: _number(measure) for key, measure in add_up(parts).items()}


def _both(one: Measure, other: Measure) -> Measure:
    match one, other:
        case Maximum(), Maximum():
            return max(one, other)
        case (value, count), (more, others):
            return value + more, count + others
    raise TypeError(f"{one} and {other}: a maximum and a sum under one name")


def _number(measure: Measure) -> float:
    if isinstance(measure, Maximum):
        return float(measure)
    value, count = measure
    return value / count if count else 0.0
