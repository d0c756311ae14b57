"""Packs a model into parts, each a byte buffer and a table of its tensors, and unpacks them.

This file knows names and tensors, but no reinforcement learning, and neither vLLM nor Ray: a
buffer is a NumPy array, and the caller decides how it is sent.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch


class PackedTensor(NamedTuple):
    """The place of one tensor in the buffer, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int


@contextmanager
def gathered(parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Hold the parameters whole within this context; under ZeRO-3 a collective of all ranks.

    Copy what is to outlive the context: the parameters are sharded again at its end.
    """
    sharded = [p for p in parameters if hasattr(p, "ds_id")]
    if not sharded:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(sharded):
        yield


def named_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter, whole, one at a time; under ZeRO-3 gathered from all ranks.

    Gathering is a collective: every rank must run through the iterator in step. Parameters
    that share memory (tied embeddings) come once, under their first name.
    """
    for name, parameter in model.named_parameters():
        with gathered([parameter]):
            yield name, parameter.data


def describe(model: torch.nn.Module) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
    """Yield name, type and whole shape of each of `named_weights`, without gathering them."""
    for name, parameter in model.named_parameters():
        yield name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape))


def pack(weights: Iterable[tuple[str, torch.Tensor]]) -> tuple[list[PackedTensor], np.ndarray]:
    """Copy every tensor into one byte buffer, in order, each aligned to 64 bytes."""
    entries: list[PackedTensor] = []
    pieces: list[np.ndarray] = []
    offset = 0
    for name, tensor in weights:
        piece = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        entries.append(
            PackedTensor(name, str(tensor.dtype), tuple(tensor.shape), offset, piece.numel())
        )
        padding = -piece.numel() % 64
        pieces += [piece.numpy(), np.zeros(padding, np.uint8)]
        offset += piece.numel() + padding
    return entries, np.concatenate(pieces)


def parts(
    weights: Iterable[tuple[str, torch.Tensor]], num_bytes: int
) -> Iterator[tuple[list[PackedTensor], np.ndarray]]:
    """Yield packed parts of about `num_bytes`, without a second copy of the whole model.

    A tensor is never divided; one that is larger than a part is a part by itself.
    """
    held: list[tuple[str, torch.Tensor]] = []
    size = 0
    for name, tensor in weights:
        if held and size + tensor.nbytes > num_bytes:
            yield pack(held)
            held, size = [], 0
        # Gathered weights are sharded again when the iterator moves on.
        held.append((name, tensor.detach().to("cpu", copy=True)))
        size += tensor.nbytes
    if held:
        yield pack(held)


def unpack(
    entries: Iterable[PackedTensor], buffer: np.ndarray
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a packed buffer as views, which must not be written to."""
    for name, dtype, shape, offset, num_bytes in entries:
        piece = torch.frombuffer(buffer, dtype=torch.uint8, count=num_bytes, offset=offset)
        yield name, piece.view(getattr(torch, dtype.removeprefix("torch."))).view(shape)
