"""The options of a private Ray, and the threads that each process of a role gets."""

import pytest
import torch

from score_ray.runtime.placement import _thread_settings as thread_settings
from score_ray.runtime.ray_session import _usable_gpus as usable_gpus
from score_ray.runtime.resources import ResourceRequest


@pytest.mark.parametrize(("built", "options"), [(True, {}), (False, {"num_gpus": 0})])
def test_without_cuda_in_torch_ray_counts_no_gpus(built, options, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    assert usable_gpus() == options


def test_processes_of_a_role_share_a_nodes_cores_and_wait_without_using_them():
    nodes = [{"CPU": 8.0}, {"CPU": 16.0}]
    settings = thread_settings(ResourceRequest("learner rank", 4), nodes)
    assert settings == {"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "passive"}


@pytest.mark.parametrize(
    ("nodes", "each"),
    [
        ([{"CPU": 4.0}, {"CPU": 96.0, "GPU": 8.0}, {"CPU": 96.0, "GPU": 8.0}], "24"),
        ([{"GPU": 8.0}], "1"),
    ],
)
def test_on_gpus_the_cores_are_those_of_their_nodes(nodes, each):
    settings = thread_settings(ResourceRequest("learner rank", 8), nodes)
    assert settings["OMP_NUM_THREADS"] == each
