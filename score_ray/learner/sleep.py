"""Moves a learner rank's tensors to the CPU's memory while an engine uses its GPU.

DeepSpeed's own `offload_states` covers neither ZeRO 0, nor bfloat16 under ZeRO 1, nor torch's
AdamW under ZeRO 3. Here the storages under the tensors are emptied and filled again, so every
parameter, view and flat buffer stays the same Python object, whatever the stage.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

MovedStorages = list[tuple[torch.UntypedStorage, Tensor]]  # emptied storages and their contents


def tensors_in(root: Any) -> Iterator[Tensor]:
    """Yield every tensor in containers, modules, optimizers and DeepSpeed's objects, once each."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        waiting += _children(value)


def _children(value: Any) -> list:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | deque):
        return list(value)
    if isinstance(value, Tensor):  # a parameter that ZeRO-3 shards holds its shard as an attribute
        gradient = value.grad if value.is_leaf else None
        return [gradient, *vars(value).values()]
    known = isinstance(value, torch.nn.Module | torch.optim.Optimizer)
    if known or type(value).__module__.startswith("deepspeed."):
        return list(getattr(value, "__dict__", {}).values())
    return []


def move_to_host(tensors: Iterable[Tensor], device: torch.device) -> MovedStorages:
    """Copy the tensors on `device` to the CPU's memory and free them there; see `move_back`.

    Memory that torch did not allocate itself stays where it is, such as weights that were read
    from files on a CPU.
    """
    moved: MovedStorages = []
    for tensor in tensors:
        storage = tensor.untyped_storage()
        size = storage.nbytes()  # 0 if another view of this storage came first
        if storage.device.type != device.type or not size or not storage.resizable():
            continue
        copy = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        copy.untyped_storage().copy_(storage, non_blocking=False)
        storage.resize_(0)
        moved.append((storage, copy))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return moved


def move_back(moved: MovedStorages) -> None:
    """Fill the storages that `move_to_host` emptied."""
    for storage, copy in moved:
        storage.resize_(copy.numel())
        storage.copy_(copy.untyped_storage(), non_blocking=False)
