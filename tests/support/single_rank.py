"""A process group of one rank in the test's own process, for learners without Ray."""

import socket
from contextlib import contextmanager

import pytest

from score_ray.learner.optimizer import deepspeed_config


@contextmanager
def one_rank(bucket: int = 1_000_000):
    """Within this, learners can be made; afterwards DeepSpeed lets go of its process groups.

    DeepSpeed also keeps ZeRO-3's gradient buffers, here of `bucket` numbers. With its default of
    500 million a process that has made a dozen learners reserves more memory than the machine
    has, and cannot fork.
    """
    from score_ray.learner import loading
    from score_ray.learner.loading import deepspeed
    from score_ray.learner.ranks import join_ranks

    def small(*args, **kwargs):
        config = deepspeed_config(*args, **kwargs)
        config["zero_optimization"]["reduce_bucket_size"] = bucket
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "deepspeed_config", small)
        for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
            patch.setenv(name, value)
        listener = socket.create_server(("127.0.0.1", 0))
        join_ranks(*listener.getsockname(), 0, 1, listener.detach())
        yield
        deepspeed.comm.destroy_process_group()
