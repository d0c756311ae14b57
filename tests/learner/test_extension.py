"""The extension is built one process at a time, and a lock that was left does not stop that."""

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from score_ray.learner.extension import build_past_lock, use_own_ninja


@pytest.mark.parametrize("left", [True, False])
def test_a_lock_that_a_killed_process_left_is_removed_before_the_build(left, tmp_path):
    folder = tmp_path / "deepspeed_shm_comm"
    folder.mkdir()
    if left:
        (folder / "lock").touch()
    found = []
    build_past_lock(folder, lambda: found.append((folder / "lock").exists()))
    assert found == [False]


def test_the_lock_of_a_build_that_goes_on_is_left_alone(tmp_path):
    folder = tmp_path / "deepspeed_shm_comm"
    folder.mkdir()
    seen = []

    def build():
        (folder / "lock").touch()
        time.sleep(0.3)
        seen.append((folder / "lock").exists())
        (folder / "lock").unlink()

    threads = [threading.Thread(target=build_past_lock, args=(folder, build)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True, True, True]


def test_the_ninja_of_the_environment_comes_before_another_on_the_path(tmp_path, monkeypatch):
    other = tmp_path / "ninja"
    other.write_text("#!/bin/sh")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert shutil.which("ninja") == str(other)
    use_own_ninja()
    assert shutil.which("ninja") == str(Path(sys.executable).parent / "ninja")


def test_the_ninja_of_the_environment_is_found_without_a_path(monkeypatch):
    monkeypatch.delenv("PATH")
    use_own_ninja()
    assert shutil.which("ninja") == str(Path(sys.executable).parent / "ninja")
