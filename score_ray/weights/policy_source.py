"""The learner's weights as vLLM's own senders take them: described first, then sent.

The senders keep what they are given until a buffer is full, and take it inside CUDA streams of
their own. Under ZeRO-3 a weight is whole only until the next one is gathered, and gathering in
a stream of its own on every rank deadlocks. So a weight is gathered and copied in the default
stream, and handed out when the copy is complete.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

Named = tuple[str, torch.Tensor]
Described = tuple[str, torch.dtype, tuple[int, ...]]


class PolicySource(WeightSource):
    """A fresh pass over the weights for every broadcast; under ZeRO-3 a collective of all ranks."""

    def __init__(
        self,
        weights: Callable[[], Iterator[Named]],
        describe: Callable[[], Iterable[Described]] | None = None,
    ) -> None:
        """`describe` says what a pass yields; without it a first pass is made to find out."""
        self._weights, self._describe = weights, describe or self._look
        self._metadata: list[ParamMeta] = []

    def metadata(self) -> list[ParamMeta]:
        """Name, type and whole shape of every weight, in the order they are sent in."""
        if not self._metadata:
            self._metadata = [ParamMeta(*each) for each in self._describe()]
        return self._metadata

    def largest(self) -> int:
        """Bytes of the largest weight."""
        return max(m.dtype.itemsize * torch.Size(m.shape).numel() for m in self.metadata())

    def __iter__(self) -> Iterator[Named]:
        """Every weight, whole: a copy that nobody will take back or write to."""
        weights = self._weights()
        while (found := _next_copy(weights)) is not None:
            yield found

    def _look(self) -> Iterator[Described]:
        return ((name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self)


def _next_copy(weights: Iterator[Named]) -> Named | None:
    on_gpu = torch.cuda.is_available()
    with torch.cuda.stream(torch.cuda.default_stream()) if on_gpu else nullcontext():
        found = next(weights, None)
        if found is None:
            return None
        copy = found[1].detach().clone()
    if copy.is_cuda:
        torch.cuda.default_stream().synchronize()
        # Its memory is not given to the next copy while the caller's stream still reads it.
        copy.record_stream(torch.cuda.current_stream())
    return found[0], copy
