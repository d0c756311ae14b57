"""What a rank holds on its GPU, put aside in the CPU's memory while others have their turn.

DeepSpeed's own `offload_states` covers neither ZeRO 0, nor bfloat16 under ZeRO 1, nor torch's
AdamW under ZeRO 3. Here the storages under the tensors are emptied and filled again: every
parameter, view and flat buffer stays the object it is, whatever the stage.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

Aside = list[tuple[torch.UntypedStorage, Tensor]]  # emptied storages, and what they held


def tensors_in(root: Any) -> Iterator[Tensor]:
    """Every tensor within containers, modules, optimizers and DeepSpeed's objects, once each."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        waiting += _parts_of(value)


def _parts_of(value: Any) -> list:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | deque):
        return list(value)
    if isinstance(value, Tensor):  # a sharded parameter holds its share as an attribute
        gradient = value.grad if value.is_leaf else None
        return [gradient, *vars(value).values()]
    known = isinstance(value, torch.nn.Module | torch.optim.Optimizer)
    if known or type(value).__module__.startswith("deepspeed."):
        return list(getattr(value, "__dict__", {}).values())
    return []


def put_aside(tensors: Iterable[Tensor], device: torch.device) -> Aside:
    """Copy what lies on the device to the CPU's memory and free it there; see `bring_back`.

    Memory that torch did not allocate itself stays where it is: on a CPU that is what was read
    from files.
    """
    aside: Aside = []
    for tensor in tensors:
        storage = tensor.untyped_storage()
        size = storage.nbytes()  # 0 where another view of it came first
        if storage.device.type != device.type or not size or not storage.resizable():
            continue
        held = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        held.untyped_storage().copy_(storage, non_blocking=False)
        storage.resize_(0)
        aside.append((storage, held))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return aside


def bring_back(aside: Aside) -> None:
    """Fill the storages that `put_aside` has emptied."""
    for storage, held in aside:
        storage.resize_(held.numel())
        storage.copy_(held.untyped_storage(), non_blocking=False)
