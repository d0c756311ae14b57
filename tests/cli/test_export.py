from pathlib import Path

import pytest

from score_ray.config.loading import dump, load
from tests.support.command_line import refusal


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run with two checkpoints, both without content."""
    (tmp_path / "config.yaml").write_text(dump(load(Path("configs/arithmetic.yaml"))))
    for name in ("iteration_000290", "iteration_000300"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    return tmp_path


def test_if_a_checkpoint_was_not_kept_the_kept_ones_are_named(folder, tmp_path):
    message = refusal("export", folder, tmp_path / "out", "--iteration", 100)
    assert "no checkpoint iteration_000100; kept are" in message
    assert "'iteration_000290', 'iteration_000300'" in message
    assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint_is_not_exported(folder, tmp_path):
    message = refusal("export", folder, tmp_path / "out", "--iteration", 290)
    assert "iteration_000290 is damaged" in message
    assert not (tmp_path / "out").exists()
