import os
import subprocess

import pytest
import torch

from score_ray.checkpoint import CheckpointError, find, newest, save
from score_ray.types import LearnerLost


def put(text: str):
    def write(folder):
        (folder / "learner").mkdir()
        (folder / "learner" / "weights.bin").write_text(text)

    return write


def test_newest_returns_the_last_saved_state_and_files(tmp_path):
    save(tmp_path, 1, put("one"), {"iteration": 1}, keep=2)
    save(tmp_path, 2, put("two"), {"iteration": 2}, keep=2)
    path, state = newest(tmp_path)
    assert state == {"iteration": 2}
    assert (path / "learner" / "weights.bin").read_text() == "two"


def test_only_the_last_ones_are_kept(tmp_path):
    for i in range(1, 5):
        save(tmp_path, i, put(str(i)), {}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iteration_000003", "iteration_000004"]


def test_a_save_that_fails_leaves_the_one_before_and_leaves_no_debris(tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    save(tmp_path, 1, put("one"), {"iteration": 1}, keep=2)
    with pytest.raises(CheckpointError, match="iteration_000002 could not.*disk full.*MiB.*000001"):
        save(tmp_path, 2, fail, {"iteration": 2}, keep=2)
    assert not list(tmp_path.glob(".tmp-*"))
    assert newest(tmp_path)[1] == {"iteration": 1}
    save(tmp_path, 2, put("two"), {"iteration": 2}, keep=2)
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, damage):
    save(tmp_path, 1, put("one"), {"iteration": 1}, keep=2)
    file = save(tmp_path, 2, put("two"), {"iteration": 2}, keep=2) / "learner" / "weights.bin"
    if damage == "flip":
        file.write_text("twp")
    elif damage == "truncate":
        file.write_text("t")
    else:
        file.unlink()
    with pytest.warns(UserWarning, match="iteration_000002.*weights.bin"):
        assert newest(tmp_path)[1] == {"iteration": 1}


def test_a_lost_learner_travels_through_a_save(tmp_path):
    def lose(folder):
        raise LearnerLost("learner rank 0", "saving", "the process died")

    with pytest.raises(LearnerLost):
        save(tmp_path, 2, lose, {"iteration": 2}, keep=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_disk_that_is_full_is_named_and_the_one_before_stays_whole(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)])
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a file system")
    try:
        folder = tmp_path / "checkpoints"
        save(folder, 1, put("one"), {"iteration": 1}, keep=2)
        with pytest.raises(
            CheckpointError, match="No space left on device.*iteration_000001 stays"
        ):
            save(folder, 2, put("2" * 2**21), {"iteration": 2}, keep=2)
        assert newest(folder)[1] == {"iteration": 1}
        with pytest.raises(CheckpointError, match="iteration_000003 could not be written"):
            save(folder, 3, lambda f: torch.save(torch.zeros(2**20), f / "a.pt"), {}, keep=2)
        assert [p.name for p in folder.iterdir()] == ["iteration_000001"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_when_every_checkpoint_is_damaged_nothing_is_thrown_away(tmp_path):
    for i in (1, 2):
        path = save(tmp_path / "checkpoints", i, put(str(i)), {"iteration": i}, keep=2)
        (path / "manifest.json").write_text("{")
    told = []
    with pytest.raises(
        CheckpointError, match=f"iteration_000002.*iteration_000001.*Remove {tmp_path}"
    ):
        newest(tmp_path / "checkpoints", told.append)
    assert len(told) == 2


def test_after_going_back_a_damaged_later_one_makes_room(tmp_path):
    for i in (1, 2):
        save(tmp_path, i, put(str(i)), {"iteration": i}, keep=2)
    (tmp_path / "iteration_000002" / "learner" / "weights.bin").unlink()
    save(tmp_path, 2, put("again"), {"iteration": 2}, keep=2)
    assert newest(tmp_path)[1] == {"iteration": 2}


def test_the_same_iteration_may_be_saved_again(tmp_path):
    save(tmp_path, 1, put("one"), {}, keep=2)
    path = save(tmp_path, 1, put("again"), {}, keep=2)
    assert (path / "learner" / "weights.bin").read_text() == "again"


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert newest(tmp_path) is None


def test_a_checkpoint_is_found_by_its_iteration_and_a_missing_or_damaged_one_is_named(tmp_path):
    for i in (1, 2):
        save(tmp_path, i, put(str(i)), {}, keep=2)
    assert find(tmp_path, 0).name == "iteration_000002"
    assert find(tmp_path, 1).name == "iteration_000001"
    with pytest.raises(FileNotFoundError, match="iteration_000009; kept are.*iteration_000001"):
        find(tmp_path, 9)
    (tmp_path / "iteration_000001" / "learner" / "weights.bin").write_text("?")
    with pytest.raises(FileNotFoundError, match="does not have its checksum"):
        find(tmp_path, 1)
