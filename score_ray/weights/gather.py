"""Whole parameters, whatever DeepSpeed has done with them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


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
