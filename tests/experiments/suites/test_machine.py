import pytest

from score_ray.experiments.suites import machine
from score_ray.types import ConfigError


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Pretend a machine of four cores, without cluster or GPU."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(machine, "_gpu_names", list)


def test_runs_side_by_side_share_the_cores():
    share = {"RAY_OVERRIDE_RESOURCES": '{"CPU": 2}', "OMP_NUM_THREADS": "2"}
    assert machine.shares(2) == [share, share]
    assert [s["OMP_NUM_THREADS"] for s in machine.shares(5)] == ["1"] * 5


def test_one_run_gets_the_whole_machine_and_a_cluster_is_left_to_ray(monkeypatch):
    assert machine.shares(1) == [{}]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert machine.shares(2) == [{}, {}]


def test_runs_side_by_side_share_no_gpu(monkeypatch):
    monkeypatch.setattr(machine, "_gpu_names", lambda: ["H100"] * 5)
    assert [s["CUDA_VISIBLE_DEVICES"] for s in machine.shares(2)] == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [s["CUDA_VISIBLE_DEVICES"] for s in machine.shares(2)] == ["4", "7"]
    with pytest.raises(ConfigError, match="jobs: 3 runs side by side; this machine has 2 GPUs"):
        machine.shares(3)


def test_a_containers_quota_limits_the_cores(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))
    quota = tmp_path / "cpu.max"
    assert machine.usable_cores(quota) == 8
    for text, cores in (("max 100000", 8), ("350000 100000", 3), ("50000 100000", 1)):
        quota.write_text(text + "\n")
        assert machine.usable_cores(quota) == cores


def test_the_machine_is_described_with_its_versions(monkeypatch):
    monkeypatch.setattr(machine, "_gpu_names", lambda: ["H100", "H100", "A100"])
    rows = dict(machine.describe())
    assert rows["processor"].endswith(", 4 cores")
    assert rows["GPUs"] == "2 x H100, 1 x A100"
    assert {"python", "torch", "ray", "deepspeed", "transformers", "score-ray"} <= rows.keys()
