import json
from pathlib import Path

import numpy as np
import pytest

from score_ray.config.loading import dump, load
from score_ray.training.checkpoint import CheckpointError, Progress, save
from tests.support.command_line import invoke, refusal
from tests.support.tiny_model import make_model


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run with two checkpoints, both without content."""
    (tmp_path / "config.yaml").write_text(dump(load(Path("configs/arithmetic.yaml"))))
    for name in ("iteration_000290", "iteration_000300"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    return tmp_path


def test_if_a_checkpoint_was_not_kept_the_kept_ones_are_named(folder, tmp_path):
    message = refusal("export", folder, tmp_path / "out", "--iteration", 100)
    assert message == (f"{folder}: no checkpoint after 100 updates; kept are those after 290, 300")
    assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint_is_not_exported(folder, tmp_path):
    message = refusal("export", folder, tmp_path / "out", "--iteration", 290)
    assert "iteration_000290 is damaged" in message
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_checkpoint_says_so(folder, tmp_path):
    (folder / "checkpoints").rename(tmp_path / "gone")
    for words in ((), ("--iteration", 100)):
        message = refusal("export", folder, tmp_path / "out", *words)
        assert message == f"{folder}: the run has no checkpoint yet"


@pytest.mark.parametrize("out", ["file", "file/model", "/proc/model"])
def test_a_place_that_cannot_hold_a_model_is_named_before_anything_starts(folder, tmp_path, out):
    save(folder / "checkpoints", Progress(300), lambda _: None, keep=2)
    (tmp_path / "file").write_text("x")
    message = refusal("export", folder, tmp_path / out)
    assert message.startswith(f"{tmp_path / out}: ")
    assert "is a file; a folder" in message or "cannot be written to" in message


@pytest.mark.parametrize("file", ["model.safetensors", "model-00001-of-00002.safetensors", "a.txt"])
def test_a_folder_that_holds_something_is_left_as_it_is(folder, tmp_path, file):
    save(folder / "checkpoints", Progress(300), lambda _: None, keep=2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / file).write_text("another model")
    message = refusal("export", folder, tmp_path / "out")
    expected = f"{tmp_path / 'out'}: the folder is not empty; name a new one, or empty it first"
    assert message == expected
    assert [path.name for path in (tmp_path / "out").iterdir()] == [file]


def test_if_all_checkpoints_are_damaged_one_line_says_so(folder, tmp_path, recwarn):
    error = invoke("export", folder, tmp_path / "out").exception
    message = str(error)
    assert isinstance(error, CheckpointError)
    assert message.startswith("no checkpoint can be read")
    assert "\n" not in message
    assert all(name in message for name in ("iteration_000290", "iteration_000300"))
    assert not recwarn.list


def test_another_base_model_than_the_runs_is_refused(folder, tmp_path):
    save(folder / "checkpoints", Progress(300), lambda _: None, keep=2)
    model = make_model(tmp_path / "model", True)
    config = load(Path("configs/arithmetic.yaml"), [f"model.path={model}"])
    (folder / "config.yaml").write_text(dump(config))
    digests = {split: {"source": "", "numbers": ""} for split in ("train", "test")}
    (folder / "inputs.json").write_text(json.dumps({"model": "", "reward": "", **digests}))
    empty = np.zeros(0, np.uint64)
    np.savez(folder / "row_hashes.npz", train=empty, test=empty)
    message = refusal("export", folder, tmp_path / "out")
    assert message == f"model.path: {model} holds another model than when {folder} began"
