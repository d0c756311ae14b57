"""A process group of one rank in the test's own process, for learners without Ray."""

import socket
from contextlib import contextmanager

import pytest


@contextmanager
def one_rank():
    """Learners can be made within this. DeepSpeed keeps groups of its own, and must let go."""
    from score_ray.learner import deepspeed, join_ranks

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
            patch.setenv(name, value)
        listener = socket.create_server(("127.0.0.1", 0))
        join_ranks(*listener.getsockname(), 0, 1, listener.detach())
        yield
        deepspeed.comm.destroy_process_group()
