"""The learner's side of a weight transfer: the model in parts, each a buffer and its table.

This file knows names and tensors, nothing of reinforcement learning, and neither vLLM nor
Ray: the buffer is an ordinary array, and who calls this decides where it goes.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch


class PackedTensor(NamedTuple):
    """Where one tensor lies in the buffer, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int


@contextmanager
def gathered(parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Within this, the parameters' data are whole; under ZeRO-3 a collective of all ranks.

    What is to outlive the block has to be copied: the shards are taken back at its end.
    """
    sharded = [p for p in parameters if hasattr(p, "ds_id")]
    if not sharded:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(sharded):
        yield


def named_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter, whole, one at a time; under ZeRO-3 gathered from all ranks.

    Gathering is a collective: every rank must run through the iterator in step. Parameters
    that share memory (tied embeddings) come once, under their first name.
    """
    for name, parameter in model.named_parameters():
        with gathered([parameter]):
            yield name, parameter.data


def described(model: torch.nn.Module) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
    """Name, type and whole shape of what `named_weights` gives; nothing is gathered for it."""
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
    """Packed parts of about `num_bytes`, so that no two copies of the whole model exist.

    A tensor is never divided; one that is larger makes a part of its own.
    """
    held: list[tuple[str, torch.Tensor]] = []
    size = 0
    for name, tensor in weights:
        if held and size + tensor.nbytes > num_bytes:
            yield pack(held)
            held, size = [], 0
        # Gathered weights are taken back when the iterator moves on.
        held.append((name, tensor.detach().to("cpu", copy=True)))
        size += tensor.nbytes
    if held:
        yield pack(held)


def unpack(
    entries: Iterable[PackedTensor], buffer: np.ndarray
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a packed buffer, as views: nothing is copied, nothing may be written."""
    for name, dtype, shape, offset, num_bytes in entries:
        piece = torch.frombuffer(buffer, dtype=torch.uint8, count=num_bytes, offset=offset)
        yield name, piece.view(getattr(torch, dtype.removeprefix("torch."))).view(shape)
