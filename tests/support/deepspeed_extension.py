"""DeepSpeed's extension for collectives on CPUs, which its first start on a machine compiles."""

import functools


@functools.cache
def compile_extension() -> None:
    """Compile it unless that is done: it takes a minute, which no test's deadline allows for."""
    # First: it chooses between CPU and GPU, which DeepSpeed's import asks for.
    import score_ray.learner.loading  # noqa: F401, I001
    from deepspeed.comm.torch import build_shm_op

    build_shm_op()
