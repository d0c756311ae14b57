from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from score_ray.reporting.folder_lock import locked, set_aside
from score_ray.types import ConfigError


def fail_in(folder: Path, *files: str) -> None:
    """Write files into a locked folder, and fail."""
    with suppress(OSError), locked(folder, "busy"):
        for name in files:
            (folder / name).write_text("x")
        raise OSError("disk full")


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    with locked(tmp_path / "run", "busy"):
        with pytest.raises(ConfigError, match="run: busy"):
            locked(tmp_path / "run", "busy").__enter__()
        assert (tmp_path / "run" / ".lock").is_file()
    with locked(tmp_path / "run", "busy"):
        pass


def test_a_block_that_fails_leaves_none_of_the_folders_that_were_made_for_it(tmp_path):
    fail_in(tmp_path / "runs" / "suite" / "run")
    assert not list(tmp_path.iterdir())
    (tmp_path / "runs").mkdir()
    fail_in(tmp_path / "runs" / "run")
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


def test_a_block_that_fails_leaves_a_folder_of_others_as_it_was(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    fail_in(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_was_written_before_the_block_failed_stays_with_the_lock_file(tmp_path):
    fail_in(tmp_path / "run", "config.yaml")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.yaml", ".lock"}


def test_a_lock_file_that_was_there_stays(tmp_path):
    (tmp_path / ".lock").touch()
    fail_in(tmp_path)
    assert (tmp_path / ".lock").is_file()


def test_who_waits_with_the_removed_lock_file_open_does_not_hold_the_next_one(tmp_path):
    folder = tmp_path / "run"
    with suppress(ValueError), locked(folder, "busy"):
        waiting = (folder / ".lock").open()  # as a process that starts at the same moment
        raise ValueError("bad input")
    with waiting, locked(folder, "busy"), pytest.raises(ConfigError):
        locked(folder, "busy").__enter__()


def test_all_but_the_lock_is_moved_to_the_first_free_number(tmp_path):
    folder = tmp_path / "run"
    with locked(folder, "busy"):
        for number in (1, 2, 3):
            (folder / "checkpoints").mkdir()
            (folder / "config.yaml").write_text(f"version {number}")
            if number == 2:
                (tmp_path / "run.2").write_text("of somebody else")
            place = set_aside(folder, "config.yaml")
            assert place == tmp_path / f"run.{number + (number > 1)}"
            assert (place / "config.yaml").read_text() == f"version {number}"
            assert (place / "checkpoints").is_dir()
            assert [path.name for path in folder.iterdir()] == [".lock"]
        with pytest.raises(ConfigError, match="busy"):
            locked(folder, "busy").__enter__()
        assert set_aside(folder, "config.yaml") is None
    assert (tmp_path / "run.2").read_text() == "of somebody else"


def test_a_folder_locked_by_the_library_itself_is_busy(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(ConfigError, match="busy"):
        locked(tmp_path, "busy").__enter__()
