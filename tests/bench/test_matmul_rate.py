"""The rate of matrix products, on a clock that the test sets."""

from types import SimpleNamespace

import pytest
import torch

from score_ray.bench import matmul_rate as matmul_rate_module
from score_ray.bench.matmul_rate import learner_matmul_rate, matmul_rate


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rate_is_the_best_of_its_products(dtype, monkeypatch):
    clock = iter([0.0, 0.1, 1.0, 1.2, 2.0, 2.5, 3.0, 9.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    # The first product takes 0.2 s, the second 0.5 s, and then time is over.
    assert matmul_rate(torch.device("cpu"), dtype, size=8, seconds=2.5) == pytest.approx(
        2 * 8**3 / 0.2
    )


def test_a_learners_rate_is_that_of_its_device_and_number_type(monkeypatch):
    monkeypatch.setattr(matmul_rate_module, "matmul_rate", lambda *args: args)
    learner = SimpleNamespace(device=torch.device("cpu"))
    assert learner_matmul_rate(learner, "bfloat16") == (learner.device, torch.bfloat16)  # type: ignore[arg-type]
