"""DeepSpeed's extension for collectives on CPUs, which its first start on a machine compiles."""

import functools


@functools.cache
def compile_extension() -> None:
    """Compile the extension if it is not compiled yet.

    It takes a minute, for which the deadlines of tests have no room.
    """
    # This import comes first, because it chooses CPU or GPU, and DeepSpeed asks when imported.
    import score_ray.learner.loading  # noqa: F401, I001
    from deepspeed.comm.torch import build_shm_op

    build_shm_op()
