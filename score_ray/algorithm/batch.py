"""Turns episodes into token tensors: a row per episode, and a turn id per token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from score_ray.types import Episode


@dataclass(frozen=True, slots=True)
class Row:
    """An episode as one sequence of tokens.

    Sampled tokens of attempt i have turn id i. Context, which includes given attempts, has turn
    id 0. `sampled_logprobs` are the sampler's log-probs: 0.0 for context, and NaN for tokens of
    an attempt that was sampled in another episode.
    """

    token_ids: tuple[int, ...]
    turn_ids: tuple[int, ...]
    sampled_logprobs: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.token_ids) == len(self.turn_ids) == len(self.sampled_logprobs):
            raise ValueError("a row needs one turn id and one log-prob per token")


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows padded on the right; every tensor is [B, T]."""

    token_ids: Tensor
    attention: Tensor
    turn_ids: Tensor
    sampled_logprobs: Tensor


def row_of(episode: Episode) -> Row:
    """Return the episode's row; turn ids follow from the lengths of prompts and completions."""
    turns: list[int] = []
    logprobs: list[float] = []
    for number, attempt in enumerate(episode.attempts, start=1):
        context = len(attempt.prompt_ids) - len(turns)
        turn = 0 if attempt.given else number
        turns += [0] * context + [turn] * len(attempt.completion_ids)
        logprobs += [0.0] * context + list(attempt.logprobs)
    return Row(episode.token_ids, tuple(turns), tuple(logprobs))


def collate(rows: Sequence[Row]) -> MicroBatch:
    """Return rows padded on the right with id 0; the mask comes from lengths, not from ids."""
    width = max(len(row.token_ids) for row in rows)

    def padded(values: Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
        return torch.tensor([[*v, *[0] * (width - len(v))] for v in values], dtype=dtype)

    return MicroBatch(
        token_ids=padded([row.token_ids for row in rows], torch.int64),
        attention=padded([[1] * len(row.token_ids) for row in rows], torch.bool),
        turn_ids=padded([row.turn_ids for row in rows], torch.int64),
        sampled_logprobs=padded([row.sampled_logprobs for row in rows], torch.float32),
    )


def shard(
    lengths: Sequence[int], num_ranks: int, tokens_per_micro_batch: int, packing: bool = False
) -> list[list[list[int]]]:
    """Return for each rank its micro-batches of row indices, the same number on every rank.

    Rows of similar length share a micro-batch. Its size (with `packing` its tokens, else its
    padded size) stays within the budget unless a single row is longer. Empty micro-batches
    make the numbers equal: under ZeRO-3 every forward pass is a collective, so all ranks must
    make as many.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    ranks = [
        _micro_batches(order[r::num_ranks], lengths, tokens_per_micro_batch, packing)
        for r in range(num_ranks)
    ]
    most = max(map(len, ranks))
    return [share + [[] for _ in range(most - len(share))] for share in ranks]


def _micro_batches(
    order: Sequence[int], lengths: Sequence[int], budget: int, packing: bool
) -> list[list[int]]:
    batches: list[list[int]] = []
    size = 0
    for index in order:
        # Longest first: a padded batch is as wide as its first row.
        added = lengths[index if packing or not batches else batches[-1][0]]
        if batches and size + added <= budget:
            batches[-1].append(index)
            size += added
        else:
            batches.append([index])
            size = lengths[index]
    return batches
