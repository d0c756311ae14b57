"""The process group of the learner ranks."""

from typing import Any

import torch

from score_ray.learner.extension import load_extension


def join_ranks(host: str, port: int, rank: int, num_ranks: int, listener: int | None) -> None:
    """Join the process group of all ranks, whose store is at `host` and `port` on rank 0.

    `listener` is rank 0's socket, which is bound already, so that no other process can take the
    port and the store listens at that address alone. On other ranks it is None.
    """
    load_extension()
    distributed: Any = torch.distributed
    store = distributed.TCPStore(
        host, port, num_ranks, is_master=rank == 0, master_listen_fd=listener
    )
    on_gpu = torch.cuda.is_available()
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=num_ranks
    )
