import os
import shutil
import subprocess
from errno import ENOSPC
from pathlib import Path

import pytest
import torch

from score_ray.training.checkpoint import (
    CheckpointError,
    Progress,
    find,
    newest,
    read_progress,
    save,
)
from score_ray.types import LearnerLost


def put(text: str):
    def write(folder):
        (folder / "learner").mkdir()
        (folder / "learner" / "weights.bin").write_text(text)

    return write


def test_newest_returns_the_last_saved_state_and_files(tmp_path):
    save(tmp_path, Progress(1), put("one"), keep=2)
    save(tmp_path, Progress(2), put("two"), keep=2)
    saved = newest(tmp_path)
    assert saved.progress == Progress(2)
    assert (saved.path / "learner" / "weights.bin").read_text() == "two"


def test_the_progress_is_plain_json_of_which_an_older_version_wrote_less(tmp_path):
    path = save(tmp_path, Progress(8, (0.3, 0.1), (4, 8)), put("one"), keep=2)
    state = path / "state.json"
    assert state.read_text() == '{"iteration": 8, "kl": [0.3, 0.1], "saved": [4, 8]}'
    assert newest(tmp_path).progress == Progress(8, (0.3, 0.1), (4, 8))
    state.write_text('{"iteration": 8}')
    assert read_progress(path) == Progress(8)


def test_only_the_last_ones_are_kept(tmp_path):
    for i in range(1, 5):
        save(tmp_path, Progress(i), put(str(i)), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iteration_000003", "iteration_000004"]


def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    save(tmp_path, Progress(1), put("one"), keep=2)
    with pytest.raises(CheckpointError, match="iteration_000002 could not.*disk full.*MiB.*000001"):
        save(tmp_path, Progress(2), fail, keep=2)
    assert not list(tmp_path.glob(".tmp-*"))
    assert newest(tmp_path).progress == Progress(1)
    save(tmp_path, Progress(2), put("two"), keep=2)
    assert not list(tmp_path.glob(".tmp-*"))


def flip(file):
    file.write_text("twp")


def truncate(file):
    file.write_text("t")


def unreadable(file):
    file.unlink()
    file.symlink_to("/proc/self/mem")  # its first byte cannot be read, as on a bad disk


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink, unreadable])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, damage):
    save(tmp_path, Progress(1), put("one"), keep=2)
    damage(save(tmp_path, Progress(2), put("two"), keep=2) / "learner" / "weights.bin")
    with pytest.warns(UserWarning, match="iteration_000002.*weights.bin"):
        assert newest(tmp_path).progress == Progress(1)


@pytest.mark.parametrize("content", ["", '{"learner/weights.bin": {"byt', "{}", "3", "\0\0"])
def test_a_half_written_manifest_is_named_and_the_one_before_is_used(tmp_path, content):
    save(tmp_path, Progress(1), put("one"), keep=2)
    path = save(tmp_path, Progress(2), put("two"), keep=2)
    (path / "manifest.json").write_text(content)
    with pytest.warns(UserWarning, match="iteration_000002.*manifest.json"):
        assert newest(tmp_path).progress == Progress(1)


class RemoteError(Exception):
    """An error from another process, with its traceback as its text."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(ENOSPC, "No space left on device"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        RemoteError("rank 0\n  in save\nOSError: [Errno 28] No space left on device"),
        RemoteError("rank 0\nRuntimeError: PytorchStreamWriter failed writing file data/0"),
    ],
)
def test_a_full_disk_is_named_with_the_bytes_written_the_bytes_free_and_what_remains(
    tmp_path, error
):
    def fill(folder):
        (folder / "half").write_bytes(bytes(3 * 2**20))
        raise error

    save(tmp_path, Progress(1), put("one"), keep=2)
    reason = str(error).split("\n")[-1].replace("[", r"\[")
    message = (
        rf"iteration_000002 could not.*\({reason}; 3.0 MiB were written, .* MiB are free.*000001"
    )
    with pytest.raises(CheckpointError, match=message):
        save(tmp_path, Progress(2), fill, keep=2)
    assert [p.name for p in tmp_path.iterdir()] == ["iteration_000001"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError("a fault of the code")])
def test_another_error_is_raised_as_it_is_and_leaves_nothing_behind(tmp_path, error):
    def fail(folder):
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(type(error)):
        save(tmp_path, Progress(1), fail, keep=2)
    assert not list(tmp_path.iterdir())


def test_a_lost_learner_is_raised_through_a_save(tmp_path):
    def lose(folder):
        raise LearnerLost("learner rank 0", "saving", "the process died")

    with pytest.raises(LearnerLost):
        save(tmp_path, Progress(2), lose, keep=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_disk_that_is_full_is_named_and_the_one_before_stays_whole(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)])
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a file system")
    try:
        folder = tmp_path / "checkpoints"
        save(folder, Progress(1), put("one"), keep=2)
        with pytest.raises(
            CheckpointError, match="No space left on device.*iteration_000001 stays"
        ):
            save(folder, Progress(2), put("2" * 2**21), keep=2)
        assert newest(folder).progress == Progress(1)
        with pytest.raises(CheckpointError, match="iteration_000003 could not be written"):
            save(folder, Progress(3), lambda f: torch.save(torch.zeros(2**20), f / "a.pt"), keep=2)
        assert [p.name for p in folder.iterdir()] == ["iteration_000001"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_when_every_checkpoint_is_damaged_none_is_removed(tmp_path):
    for i in (1, 2):
        path = save(tmp_path / "checkpoints", Progress(i), put(str(i)), keep=2)
        (path / "manifest.json").write_text("{")
    reports = []
    with pytest.raises(
        CheckpointError,
        match=f"iteration_000002.*iteration_000001.*--fresh: it moves {tmp_path} aside",
    ):
        newest(tmp_path / "checkpoints", reports.append)
    assert not reports  # the error says it all


def test_after_going_back_a_damaged_checkpoint_is_replaced(tmp_path):
    for i in (1, 2):
        save(tmp_path, Progress(i), put(str(i)), keep=2)
    (tmp_path / "iteration_000002" / "learner" / "weights.bin").unlink()
    save(tmp_path, Progress(2), put("again"), keep=2)
    assert newest(tmp_path).progress == Progress(2)


def test_the_same_iteration_may_be_saved_again(tmp_path):
    save(tmp_path, Progress(1), put("one"), keep=2)
    path = save(tmp_path, Progress(1), put("again"), keep=2)
    assert (path / "learner" / "weights.bin").read_text() == "again"


def test_a_failed_save_of_the_same_iteration_leaves_the_old_one(tmp_path):
    def fail(folder):
        raise OSError(ENOSPC, "No space left on device")

    save(tmp_path, Progress(1), put("one"), keep=2)
    with pytest.raises(CheckpointError, match="iteration_000001 stays the newest"):
        save(tmp_path, Progress(1), fail, keep=2)
    saved = newest(tmp_path)
    assert saved.progress == Progress(1)
    assert (saved.path / "learner" / "weights.bin").read_text() == "one"


def killed_at(step: int, act) -> bool:
    """Run `act` in a process that dies before its disk operation number `step`.

    Returns False if it ended before that.
    """

    def counted(operation):
        def call(*args, **kwargs):
            nonlocal step
            step -= 1
            if step < 0:
                os._exit(9)
            return operation(*args, **kwargs)

        return call

    child = os.fork()
    if not child:
        for module, name in ((os, "rename"), (os, "fsync"), (os, "unlink"), (os, "rmdir")):
            setattr(module, name, counted(getattr(module, name)))
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.slow
def test_a_kill_at_any_moment_of_saving_again_leaves_a_whole_checkpoint(tmp_path):
    step, found = 0, []
    while True:
        folder = tmp_path / str(step)
        save(folder, Progress(1), put("before"), keep=2)
        killed = killed_at(step, lambda f=folder: save(f, Progress(1), put("again"), keep=2))
        saved = newest(folder)
        assert saved.progress == Progress(1)
        found.append((saved.path / "learner" / "weights.bin").read_text())
        # The next save meets what the killed one left, and keeps it.
        save(folder, Progress(2), put("two"), keep=2)
        names = sorted(p.name for p in folder.iterdir())
        assert names == ["iteration_000001", "iteration_000002"]
        shutil.rmtree(folder / "iteration_000002")
        assert (newest(folder).path / "learner" / "weights.bin").read_text() == found[-1]
        if not killed:
            break
        step += 1
    assert step > 8
    turned = found.index("again")
    assert set(found[:turned]) == {"before"}
    assert set(found[turned:]) == {"again"}


def test_after_going_back_later_checkpoints_are_neither_used_nor_counted(tmp_path):
    for i in (10, 20, 30):
        save(tmp_path, Progress(i), put(str(i)), keep=3)
    (tmp_path / "iteration_000020" / "learner" / "weights.bin").unlink()
    save(tmp_path, Progress(20), put("again"), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iteration_000010", "iteration_000020"]
    saved = newest(tmp_path)
    assert saved.progress == Progress(20)
    assert (saved.path / "learner" / "weights.bin").read_text() == "again"


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert newest(tmp_path) is None


def test_a_checkpoint_is_found_by_its_iteration_and_a_missing_or_damaged_one_is_named(tmp_path):
    for i in (1, 2):
        save(tmp_path, Progress(i), put(str(i)), keep=2)
    assert find(tmp_path, 0).name == "iteration_000002"
    assert find(tmp_path, 1).name == "iteration_000001"
    with pytest.raises(
        FileNotFoundError, match="no checkpoint after 9 updates; kept are those after 1, 2"
    ):
        find(tmp_path, 9)
    (tmp_path / "iteration_000001" / "learner" / "weights.bin").write_text("?")
    with pytest.raises(FileNotFoundError, match="does not match its checksum"):
        find(tmp_path, 1)


def test_damaged_checkpoints_newer_than_the_one_found_are_reported(tmp_path):
    for i in (1, 2, 3):
        path = save(tmp_path, Progress(i), put(str(i)), keep=3)
        if i > 1:
            (path / "learner" / "weights.bin").write_text("?")
    reports = []
    assert find(tmp_path, 0, reports.append).name == "iteration_000001"
    fault = (
        "is damaged (learner/weights.bin does not match its checksum); the one before it is taken"
    )
    assert reports == [f"{tmp_path}/iteration_00000{i} {fault}" for i in (3, 2)]
