"""What a private Ray is given and leaves, and the threads that each process of a role gets."""

import pytest
import torch

from score_ray.runtime import placement
from score_ray.runtime.placement import _thread_settings as thread_settings
from score_ray.runtime.ray_session import _usable_gpus as usable_gpus
from score_ray.runtime.resources import ResourceRequest
from score_ray.types import ConfigError, ProcessLost, RunError


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


@pytest.fixture
def session(tmp_path, monkeypatch):
    """The folder of a private Ray that is none; `stopped` stands in it when Ray was left."""
    folder = tmp_path / "session"

    def start() -> object:
        folder.mkdir()
        return folder

    monkeypatch.setattr(placement, "start_ray", start)
    monkeypatch.setattr(placement, "stop_ray", lambda processes: (folder / "stopped").touch())
    monkeypatch.setattr(placement, "_reserve", lambda *_: [["an actor's place"]])
    return folder


def lost_process() -> RunError:
    error = RunError("the run ends with this loss")
    error.__cause__ = ProcessLost("engine 3", "sampling", "died")
    return error


def test_the_files_of_a_private_ray_are_removed_when_nothing_failed(session):
    with placement.placements([], 0.0, 1.0) as reserved:
        assert session.is_dir()
    assert reserved == [["an actor's place"]]
    assert not session.exists()


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), lost_process()])
def test_the_logs_stay_and_are_named_when_a_process_may_have_failed(error, session):
    with pytest.raises(type(error)) as caught, placement.placements([], 0.0, 1.0):
        raise error
    assert caught.value.__notes__ == [f"Ray's logs are in {session / 'logs'}"]
    assert (session / "stopped").exists()


@pytest.mark.parametrize("error", [ConfigError("a wrong key"), KeyboardInterrupt()])
def test_the_logs_are_removed_when_they_would_explain_nothing(error, session):
    with pytest.raises(type(error)) as caught, placement.placements([], 0.0, 1.0):
        raise error
    assert not hasattr(caught.value, "__notes__")
    assert not session.exists()


def test_a_sigterm_that_ray_takes_for_its_own_ends_the_run_as_ctrl_c_does(session):
    with pytest.raises(KeyboardInterrupt), placement.placements([], 0.0, 1.0):
        raise SystemExit(15)
    assert not session.exists()
