from pathlib import Path

import pytest

from score_ray.config.loading import dump, load
from tests.support.command_line import refusal


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run that is not finished."""
    (tmp_path / "config.yaml").write_text(dump(load(Path("configs/arithmetic.yaml"))))
    return tmp_path


def test_a_run_without_a_model_cannot_be_evaluated(folder):
    assert refusal("eval", folder) == f"{folder}: has no model yet; a finished run leaves one"


def test_a_wrong_override_is_named(folder):
    assert "evaluation.problem: unknown key" in refusal("eval", folder, "evaluation.problem=5")
