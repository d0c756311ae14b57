"""Where the home folder cannot be written to, libraries keep their caches elsewhere."""

import os
from pathlib import Path

import pytest

from score_ray.cli import caches
from score_ray.cli.caches import PLACES, use_writable_caches


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Set HOME, with no variable of a cache set; the folder of temporary files is the test's."""
    for name in (*PLACES, "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "")  # so that it is restored after the test
        monkeypatch.delenv(name)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return lambda folder: monkeypatch.setenv("HOME", str(folder))


def test_a_home_that_can_be_written_to_is_left_alone(home, tmp_path, capsys):
    home(tmp_path)
    use_writable_caches()
    assert not set(PLACES) & set(os.environ)
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["/proc", "/proc/nobody", "/dev/null/home"])
def test_a_home_that_cannot_be_written_to_is_named_and_replaced(folder, home, tmp_path, capsys):
    home(folder)
    use_writable_caches()
    chosen = tmp_path / f"score-ray-{os.getuid()}"
    assert os.environ["XDG_CACHE_HOME"] == str(chosen / "cache")
    assert os.environ["XDG_CONFIG_HOME"] == str(chosen / "config")
    assert os.environ["TRITON_HOME"] == str(chosen / "triton")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {folder}/.cache and ")
    assert str(chosen) in line


def test_a_cache_that_the_user_has_chosen_is_left_alone(home, tmp_path, monkeypatch, capsys):
    home("/proc")
    for name in PLACES:
        monkeypatch.setenv(name, str(tmp_path / name))
    use_writable_caches()
    assert capsys.readouterr().err == ""
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "XDG_CACHE_HOME")


def test_models_in_a_cache_that_can_only_be_read_are_still_found(home, tmp_path, monkeypatch):
    hub = tmp_path / ".cache" / "huggingface" / "hub"
    hub.mkdir(parents=True)
    home(tmp_path)
    monkeypatch.setattr(caches, "writable", lambda folder: False)
    use_writable_caches()
    assert Path(os.environ["HF_HUB_CACHE"]) == hub
