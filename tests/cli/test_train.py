"""What `score-ray train` refuses before it starts a run."""

from pathlib import Path

import pytest
from filelock import FileLock

from score_ray.config.loading import dump, load
from tests.support.command_line import refusal
from tests.support.tiny_model import make_model

RECIPE = Path("configs/arithmetic.yaml")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tied")


def refused(runs: Path, *words: object) -> str:
    return refusal("train", RECIPE, *words, "--runs", runs)


def test_a_run_folder_of_another_config_is_refused_and_left_alone(tmp_path):
    saved = tmp_path / "arithmetic" / "config.yaml"
    saved.parent.mkdir()
    content = dump(load(RECIPE, ["seed=5"]))
    saved.write_text(content)
    assert "seed: 5 -> 0" in refused(tmp_path)
    assert saved.read_text() == content


def test_a_run_folder_in_use_is_refused(tmp_path):
    (tmp_path / "arithmetic").mkdir()
    with FileLock(tmp_path / "arithmetic" / ".lock"):
        message = refused(tmp_path)
    assert "another process is running in this run folder" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rollout.sample=4", "rollout.sample: unknown key"),
        ("rollout.samples=four", "rollout.samples"),
        ("model.path=./nowhere", "there is no folder ./nowhere"),
        ("model.max_length=12", "its prompt has 6 tokens"),
        ("model.max_length=4096", "is more than the"),
        ("task={name: math, train: none.jsonl, test: none.jsonl}", "none.jsonl: no such data file"),
    ],
)
def test_bad_input_is_one_clear_error_and_claims_no_folder(override, message, tmp_path, model):
    assert message in refused(tmp_path, f"model.path={model}", override)
    assert not (tmp_path / "arithmetic" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "1+1=", "solution": "2"}\n', "no column 'answer'"),
        ("", "the file is empty"),
    ],
)
def test_a_missing_column_and_an_empty_split_are_named(content, message, tmp_path, model):
    (tmp_path / "rows.jsonl").write_text(content)
    task = f"task={{name: math, train: {tmp_path}/rows.jsonl, test: {tmp_path}/rows.jsonl}}"
    assert message in refused(tmp_path, f"model.path={model}", task)


def test_flags_set_the_model_the_data_and_its_columns(tmp_path):
    saved = tmp_path / "arithmetic" / "config.yaml"
    saved.parent.mkdir()
    saved.write_text(dump(load(RECIPE)))
    flags = {"--model_name": "a/b", "--dataset_name": "c", "--question_column": "d"}
    words = [word for flag in (*flags.items(), ("--answer_column", "e")) for word in flag]
    message = refused(tmp_path, "task.name=math", "task.test=t", *words)
    for line in (
        "model.path: embedded:arithmetic -> a/b",
        "task.train:  -> c",
        "task.question_column: question -> d",
        "task.answer_column: answer -> e",
    ):
        assert line in message
