"""The folder for the files of a private Ray: writable, and short enough for its sockets."""

import os
import shutil
from pathlib import Path

import pytest

from score_ray.runtime import ray_files
from score_ray.runtime.ray_files import fits, folder_for_ray, remove_session
from score_ray.types import ConfigError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A short folder in place of /tmp, and no variable set."""
    for name in ray_files.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    short = Path("/tmp") / f"s{os.getpid()}"
    short.mkdir()
    monkeypatch.setattr(ray_files, "USUAL", short)
    yield short
    shutil.rmtree(short)


def test_by_default_it_is_rays_own_folder(place):
    assert folder_for_ray() == place / "ray"


def test_a_folder_is_long_enough_by_one_byte_less_than_the_kernel_refuses():
    assert fits(Path("/" + "a" * 42))
    assert not fits(Path("/" + "a" * 43))
    assert not fits(Path("/" + "ä" * 22))  # two bytes each


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_variable_names_the_folder_unless_it_is_too_long(name, place, monkeypatch):
    monkeypatch.setenv(name, str(place / "t"))
    (place / "t").mkdir()
    assert folder_for_ray() == place / "t" / "ray"
    long = place / ("a" * 60)
    long.mkdir()
    monkeypatch.setenv(name, str(long))
    assert folder_for_ray() == place / "ray"


@pytest.mark.parametrize("name", ["nowhere", "file"])
@pytest.mark.parametrize("chosen", ["", "ray"])
def test_a_place_of_temporary_files_that_is_no_folder_is_refused(name, chosen, place, monkeypatch):
    (place / "file").write_text("mine")
    monkeypatch.setenv("TMPDIR", str(place / name))
    if chosen:
        monkeypatch.setenv("RAY_TMPDIR", str(place / chosen))
    with pytest.raises(ConfigError, match=f"TMPDIR={place / name}: there is no such folder"):
        folder_for_ray()
    assert {path.name for path in place.iterdir()} == {"file"}


@pytest.mark.parametrize("folder", ["/proc/x", "/dev/null/x"])
def test_a_folder_that_cannot_be_written_to_is_named_with_its_variable(folder, place, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", folder)
    with pytest.raises(ConfigError, match=f"RAY_TMPDIR={folder}: Ray cannot write into {folder}"):
        folder_for_ray()


def test_a_full_disk_is_named(place, monkeypatch):
    usage = type("usage", (), {"free": 3 * 2**20})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match=r"3 MiB are free in .*, and Ray needs 100: make room"):
        folder_for_ray()


def test_a_session_is_removed_with_the_link_to_it_and_no_other(tmp_path):
    for name in ("session_1", "session_2"):
        (tmp_path / name / "logs").mkdir(parents=True)
    (tmp_path / "session_latest").symlink_to(tmp_path / "session_2")
    remove_session(tmp_path / "session_1")
    assert {p.name for p in tmp_path.iterdir()} == {"session_2", "session_latest"}
    remove_session(tmp_path / "session_2")
    assert not list(tmp_path.iterdir())
