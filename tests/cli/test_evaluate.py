from pathlib import Path

import pytest

from score_ray.config.loading import dump, load
from score_ray.types import ConfigError
from tests.support.command_line import refusal
from tests.support.tiny_model import make_model


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run that is not finished."""
    (tmp_path / "config.yaml").write_text(dump(load(Path("configs/arithmetic.yaml"))))
    return tmp_path


def test_a_run_without_a_model_cannot_be_evaluated(folder):
    assert refusal("eval", folder) == f"{folder}: has no model yet; a finished run leaves one"


def test_a_wrong_override_is_named(folder):
    assert "evaluation.problem: unknown key" in refusal("eval", folder, "evaluation.problem=5")


@pytest.mark.parametrize(
    "override",
    [
        "seed=1", "rollout.temperature=0.5", "learner.learning_rate=1", "checkpoint={every: 2}",
        "model.path=embedded:arithmetic",
    ],
)  # fmt: skip
def test_an_override_that_an_evaluation_does_not_use_is_refused(override, folder):
    assert "`eval` does not use it; leave it out" in refusal("eval", folder, override)


def without_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def cut_off(model: Path) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[:-5000])


def without_tokenizer(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_weights, ": its weights do not load: "),
        (cut_off, ": a safetensors file is damaged or cut off: "),
        (without_tokenizer, " has no tokenizer that loads: "),
    ],
)
def test_a_trained_model_that_does_not_load_is_refused_before_anything_starts(
    damage, says, folder, tmp_path
):
    base = make_model(tmp_path / "base", True)
    damage(make_model(folder / "model", True))
    config = load(Path("configs/arithmetic.yaml"), [f"model.path={base}"])
    (folder / "config.yaml").write_text(dump(config))
    message = refusal("eval", folder)
    assert message.startswith(f"{folder / 'model'}{says}")
    assert f"score-ray export {folder} {folder / 'model'}" in message
    assert not (folder / "eval").exists()


def test_the_base_model_of_a_run_is_needed_only_if_it_judges(folder, tmp_path, monkeypatch):
    def sampled(inputs, model, _):
        raise ConfigError(f"tokens of {inputs.model}, sampled from {model}")

    monkeypatch.setattr("score_ray.training.roles.sampling_roles", sampled)
    trained, gone = make_model(folder / "model"), tmp_path / "gone"
    config = load(Path("configs/arithmetic.yaml"), [f"model.path={gone}"])
    (folder / "config.yaml").write_text(dump(config))
    assert refusal("eval", folder) == f"tokens of {trained}, sampled from {trained}"
    judged = refusal("eval", folder, "grading.judge=true")
    assert judged == f"model.path: there is no folder {gone}"


def test_the_keys_of_the_learner_and_its_model_are_used_if_it_judges(folder):
    judged = ["grading.judge=true", "learner.logits_mb=64", "model.path=elsewhere"]
    assert "has no model yet" in refusal("eval", folder, *judged)


def test_a_data_set_for_generated_problems_is_refused(folder):
    assert "task.test: the task" in refusal("eval", folder, "task.test=math500.jsonl")
