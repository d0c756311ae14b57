"""Every error of a command is one line that says what to do; tracebacks go to files."""

import errno
from pathlib import Path

import pytest

from score_ray.cli import failures
from score_ray.cli.failures import explain, tracebacks_in
from score_ray.types import ConfigError, ProcessLost, RunError


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder of temporary files is the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(failures, "_folders", [])
    return tmp_path


def raised(error: BaseException) -> BaseException:
    """The same error with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("seed: not a number"), "error: seed: not a number"),
        (RunError("the weights are gone"), "error: the weights are gone"),
        (ProcessLost("rank 0", "saving", "died"), "error: rank 0: died while saving"),
        (
            OSError(errno.EROFS, "Read-only file system", "/ro/runs"),
            "error: /ro/runs: read-only file system; choose a folder that can be written to",
        ),
        (
            FileExistsError(errno.EEXIST, "File exists", "runs"),
            "error: runs: file exists; a file stands where a folder is needed; choose another path",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/etc/x"),
            "error: /etc/x: permission denied; choose a folder that this user may write to, or "
            "change its permissions",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "error: too many open files; allow more open files (ulimit -n)",
        ),
    ],
)
def test_an_error_that_the_user_can_mend_is_one_line_without_a_traceback(error, line, temporary):
    assert explain(raised(error)) == line
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_whoever_reports_it(error, temporary, monkeypatch):
    usage = type("usage", (), {"free": 4096})
    monkeypatch.setattr(failures.shutil, "disk_usage", lambda path: usage)
    line = explain(raised(error))
    assert line.startswith("error: no space left on device: ")
    assert str(temporary) in line
    assert line.endswith("make room there; the same command then resumes from the last checkpoint")


def test_an_unexpected_error_names_the_file_with_its_traceback(temporary):
    line = explain(raised(KeyError("rows")))
    assert line.startswith("error: unexpected error: KeyError: 'rows'; the traceback is in ")
    (kept,) = temporary.iterdir()
    assert line.endswith(str(kept))
    assert "in raised" in kept.read_text()


def test_an_error_of_many_lines_becomes_its_last_one():
    text = "Traceback (most recent call last):\n  File x\nZeroDivisionError: by zero\n"
    line = explain(raised(RuntimeError(text)))
    assert "RuntimeError: ZeroDivisionError: by zero; the traceback" in line
    assert "\n" not in line


@pytest.mark.parametrize("claimed", [True, False])
def test_a_traceback_is_kept_in_the_run_folder_if_that_holds_a_run(claimed, temporary):
    folder = temporary / "run"
    folder.mkdir()
    if claimed:
        (folder / "config.yaml").touch()
    with pytest.raises(KeyError), tracebacks_in(folder):
        raise KeyError("rows")
    line = explain(raised(KeyError("rows")))
    assert any(p.name.startswith("score-ray-traceback") for p in folder.iterdir()) is claimed
    assert (str(folder) in line) is claimed


def test_without_a_place_for_it_the_traceback_is_part_of_the_message(temporary, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_text", refuse)
    line = explain(raised(KeyError("rows")))
    assert "KeyError: 'rows'; no file can be written for the traceback:\nTraceback" in line


def test_an_error_of_a_remote_process_is_what_caused_it_there():
    from ray.exceptions import RayTaskError

    error = RayTaskError("save", "a long traceback", RunError("the disk of rank 1 is broken"))
    assert explain(raised(error)) == "error: the disk of rank 1 is broken"
    disk = RayTaskError("save", "text", OSError(errno.EROFS, "Read-only file system", "/r"))
    assert explain(raised(disk)).startswith("error: /r: read-only file system")


def test_notes_on_an_error_follow_its_text():
    error = RunError("engine 3 is gone")
    error.add_note("Ray's logs are in /tmp/ray/s/logs")
    assert explain(raised(error)) == "error: engine 3 is gone; Ray's logs are in /tmp/ray/s/logs"
