"""The most memory that this process has held."""

import resource

import pytest
import torch

from score_ray.bench.peak_memory import peak_memory


def test_the_peak_is_the_kernels_in_gib_and_without_a_gpu_in_use_that_of_gpus_is_0(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = peak_memory()
    assert peak.host == pytest.approx(kib / 2**20, rel=0.05)
    assert peak.gpu == 0.0


def test_the_peak_of_a_gpu_is_the_most_that_torch_has_reserved(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3 * 2**30)
    assert peak_memory().gpu == 3.0
