"""The learner's weights as vLLM's senders take them: first names and shapes, then tensors.

The senders keep weights until a buffer is full, and copy them in CUDA streams of their own.
Under ZeRO-3 a weight is whole only until the next one is gathered, and gathering in another
stream on every rank deadlocks. So each weight is gathered and copied in the default stream, and
handed out when the copy is complete.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

Named = tuple[str, torch.Tensor]
Described = tuple[str, torch.dtype, tuple[int, ...]]


class PolicySource(WeightSource):
    """The policy's weights; under ZeRO-3 every pass over them is a collective of all ranks."""

    def __init__(
        self,
        weights: Callable[[], Iterator[Named]],
        describe: Callable[[], Iterable[Described]] | None = None,
    ) -> None:
        """`describe` yields names, types and shapes; without it, a first pass finds them."""
        self._weights, self._describe = weights, describe or self._describe_by_a_pass
        self._metadata: list[ParamMeta] = []

    def metadata(self) -> list[ParamMeta]:
        """Return name, type and whole shape of every weight, in the order they are sent in."""
        if not self._metadata:
            self._metadata = [ParamMeta(*described) for described in self._describe()]
        return self._metadata

    def largest(self) -> int:
        """Return the bytes of the largest weight."""
        return max(m.dtype.itemsize * torch.Size(m.shape).numel() for m in self.metadata())

    def __iter__(self) -> Iterator[Named]:
        """Yield a whole copy of every weight, which no later gathering or update changes."""
        weights = self._weights()
        while (copy := _next_copy(weights)) is not None:
            yield copy

    def _describe_by_a_pass(self) -> Iterator[Described]:
        return ((name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self)


def _next_copy(weights: Iterator[Named]) -> Named | None:
    on_gpu = torch.cuda.is_available()
    with torch.cuda.stream(torch.cuda.default_stream()) if on_gpu else nullcontext():
        name, tensor = next(weights, ("", None))
        if tensor is None:
            return None
        copy = tensor.detach().clone()
    if copy.is_cuda:
        torch.cuda.default_stream().synchronize()
        # Keep the next copy out of this memory while the caller's stream still reads it.
        copy.record_stream(torch.cuda.current_stream())
    return name, copy
