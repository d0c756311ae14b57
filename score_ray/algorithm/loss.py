"""The loss and its measures as sums over tokens; the caller divides by counts over all ranks.

Shapes: B rows, T tokens, A attempts, M scored positions, V vocabulary.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


class Maximum(float):
    """A measure that is merged by keeping the largest value, where others are added up."""


Measure = tuple[float, float] | Maximum  # a sum and its count; or a maximum


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return log-probs [M] of targets [M] under softmax(logits [M, V] / temperature).

    They are computed in float32.
    """
    return -cross_entropy(logits.float() / temperature, targets, reduction="none")


def attempt_sums(values: Tensor, turn_ids: Tensor, num_attempts: int) -> Tensor:
    """Sum values [B, T] over the tokens of each attempt: [B, A]."""
    sums = values.new_zeros(values.shape[0], num_attempts + 1)
    return sums.scatter_add(1, turn_ids, values)[:, 1:]


def weighted_loss(
    logprobs: Tensor, turn_ids: Tensor, advantages: Tensor, importance: Tensor | None = None
) -> Tensor:
    """Return - sum over tokens of advantage[turn] * logprob, from [B, T], [B, T] and [B, A].

    This is the REINFORCE loss; with all advantages 1 it is the loss of supervised fine-tuning.
    It is a sum, not a mean: divided by the number of episodes of the whole iteration it gives
    the same gradient however rows are split into micro-batches and ranks. Context tokens (turn
    0) have no term. `importance` [B, T] multiplies the term of every token.
    """
    terms = logprobs if importance is None else logprobs * importance
    return -(advantages * attempt_sums(terms, turn_ids, advantages.shape[1])).sum()


def importance_weights(logprobs: Tensor, sampled: Tensor, bound: float) -> Tensor:
    """Return min(learner's probability / sampler's, bound) per token, without gradient.

    The weight is 1 where `sampled` is NaN, because the token was not sampled in this episode.
    This is truncated importance sampling per token (Yao et al. 2025): it corrects the gradient
    for tokens that were sampled from older weights, or by other kernels. The bound keeps the
    variance finite, at the price of some bias.
    """
    ratio = (logprobs.detach() - sampled).exp().clamp(max=bound)
    return torch.where(sampled.isnan(), torch.ones_like(ratio), ratio)


def mismatch(logprobs: Tensor, sampled: Tensor, is_sampled: Tensor) -> dict[str, Measure]:
    """Measure how far the learner's log-probs are from the sampler's, over sampled tokens.

    `is_sampled` [B, T] marks these tokens. The measures are mean and maximum of
    |learner - sampler|, and the k3 estimate of KL(sampler || learner) per token, exp(d) - 1 - d
    with d = learner - sampler (Schulman 2020): its expectation over tokens of the sampler is
    that KL, and no term is negative.
    """
    gap = (logprobs.detach() - sampled)[is_sampled]
    distance = gap.abs()
    count = float(gap.numel())
    wide = gap.double()  # exp(d) - 1 and d nearly cancel
    return {
        "mismatch_mean_abs": (float(distance.sum()), count),
        "mismatch_max_abs": Maximum(distance.max() if count else 0.0),
        "mismatch_kl": (float((wide.expm1() - wide).sum()), count),
    }


def truncated(importance: Tensor, is_sampled: Tensor, bound: float) -> dict[str, Measure]:
    """Measure the share of the sampled tokens whose importance weight is at its bound."""
    compared = importance[is_sampled]
    return {"truncated": (float((compared >= bound).sum()), float(compared.numel()))}


def add_up(parts: Iterable[Mapping[str, Measure]]) -> dict[str, Measure]:
    """Combine measures of micro-batches or ranks: add sums and counts, keep maxima."""
    totals: dict[str, Measure] = {}
    for part in parts:
        for key, measure in part.items():
            least = Maximum("-inf") if isinstance(measure, Maximum) else (0.0, 0.0)
            totals[key] = _combined(totals.get(key, least), measure)
    return totals


def merge(parts: Iterable[Mapping[str, Measure]]) -> dict[str, float]:
    """Combine measures as `add_up` does, then divide sums by counts; a count of 0 gives 0.0."""
    return {key: _divided(measure) for key, measure in add_up(parts).items()}


def _combined(one: Measure, other: Measure) -> Measure:
    match one, other:
        case Maximum(), Maximum():
            return max(one, other)
        case (value, count), (more, others):
            return value + more, count + others
    raise TypeError(f"{one} and {other}: a maximum and a sum under one name")


def _divided(measure: Measure) -> float:
    if isinstance(measure, Maximum):
        return float(measure)
    value, count = measure
    return value / count if count else 0.0
