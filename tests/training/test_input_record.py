import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from score_ray.config.loading import load
from score_ray.reporting.run_folder import RunFolder
from score_ray.tasks.arithmetic import Arithmetic
from score_ray.tasks.data_digest import row_hashes
from score_ray.training.input_record import (
    BLOCK_BYTES,
    BLOCKS,
    changes,
    model_digest,
    note_on_test,
    read_record,
    record_of,
    rows_change,
    write_record,
)
from score_ray.training.inputs import Inputs
from score_ray.types import ConfigError, Problem


def problems(texts: str) -> list[Problem]:
    return [Problem(i, t, "1", source="a.jsonl", row=i + 2) for i, t in enumerate(texts)]


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("abcd", "abcd", ""),
        ("abcd", "abcdef", "4 rows before, 6 now; 2 are added at the end"),
        ("abcd", "abc", "4 rows before, 3 now; 1 are missing at the end"),
        ("abcd", "abxd", "4 rows before, 4 now; the first that differs is a.jsonl: row 4"),
        ("abcd", "acd", "4 rows before, 3 now; the first that differs is a.jsonl: row 3"),
        (
            "abcd",
            "acbd",
            "the same 4 rows in another order; the first that differs is a.jsonl: row 3",
        ),
        ("aab", "abb", "3 rows before, 3 now; the first that differs is a.jsonl: row 3"),
        ("a", "b", "1 rows before, 1 now; the first that differs is a.jsonl: row 2"),
    ],
)
def test_a_change_of_rows_is_described(before, now, change):
    rows = problems(now)
    assert rows_change(row_hashes(problems(before)), row_hashes(rows), rows) == change


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder with what a model's folder holds, of which nothing is a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "a.safetensors").write_bytes(bytes(BLOCKS * BLOCK_BYTES * 3))
    return folder


def digest(folder: Path) -> str:
    return model_digest(str(folder), str(folder))


def test_a_copy_of_a_model_is_the_same_model_whatever_else_lies_there(model, tmp_path):
    before = digest(model)
    (model / "README.md").write_text("a model")
    os.utime(model / "a.safetensors", (1, 1))
    assert digest(model) == before
    assert digest(model.rename(tmp_path / "moved")) == before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "b.safetensors"])
def test_a_file_that_a_model_consists_of_makes_another_model(model, name):
    before = digest(model)
    (model / name).write_text("[]")
    assert digest(model) != before


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_other_weights_in_a_large_file_of_the_same_size_make_another_model(model, part):
    """All weights of a layer change in training: more bytes than lie between two samples."""
    path, before = model / "a.safetensors", digest(model)
    content = bytearray(path.read_bytes())
    layer = 4 * BLOCK_BYTES
    start = int((len(content) - layer) * part)
    content[start : start + layer] = b"\1" * layer
    path.write_bytes(content)
    assert digest(model) != before


def test_a_built_in_model_is_known_by_the_code_that_made_it(model, tmp_path):
    built_in = model_digest(str(model), "embedded:arithmetic")
    assert built_in == "embedded:arithmetic@model"
    (model / "config.json").write_text("[]")
    assert model_digest(str(model), "embedded:arithmetic") == built_in


@pytest.fixture
def inputs(model) -> Inputs:
    config = load(Path("configs/arithmetic.yaml"), [f"model.path={model}"])
    task = config.task.model_copy(update={"name": "math", "train": "a.jsonl", "test": "b.jsonl"})
    config = config.model_copy(update={"task": task})
    return Inputs(config, str(model), Arithmetic(), lambda: None, problems("abc"), problems("xy"))


def test_a_record_is_read_back_and_nothing_has_changed(inputs, tmp_path):
    folder = RunFolder(tmp_path)
    assert read_record(folder) is None
    write_record(folder, record_of(inputs))
    before = read_record(folder)
    assert changes(before, record_of(inputs), inputs) == []
    plain = json.loads((tmp_path / "inputs.json").read_text())
    assert (plain["train"]["source"], plain["train"]["rows"]) == ("a.jsonl", 3)
    assert (plain["test"]["source"], plain["test"]["rows"]) == ("b.jsonl", 2)
    np.testing.assert_array_equal(before.rows["test"], row_hashes(problems("xy")))


def test_a_moved_file_with_the_same_rows_is_the_same_data(inputs):
    before = record_of(inputs)
    task = inputs.config.task.model_copy(update={"train": "moved/a.jsonl"})
    moved = [replace(problem, source="moved/a.jsonl") for problem in inputs.train]
    now = replace(inputs, config=inputs.config.model_copy(update={"task": task}), train=moved)
    assert changes(before, record_of(now), now) == []


def test_each_changed_part_is_named_by_its_key(inputs, model):
    before = record_of(inputs)
    task = inputs.config.task.model_copy(update={"test": "c.jsonl"})
    (model / "config.json").write_text("[]")
    now = replace(
        inputs,
        config=inputs.config.model_copy(update={"task": task}),
        train=[replace(problem, index=problem.index + 1) for problem in inputs.train],
        test=problems("xz"),
    )
    assert changes(before, record_of(now), now) == [
        "task.train: a.jsonl: the same rows under other numbers",
        "task.test: b.jsonl -> c.jsonl: 2 rows before, 2 now; the first that differs is "
        "a.jsonl: row 3",
        f"model.path: {model} holds another model than before",
    ]


def test_a_changed_reward_function_has_another_digest(inputs, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_reward_of_a_record.py").write_text("def score(problem, text): return 1\n")
    grading = inputs.config.grading.model_copy(update={"reward": "own_reward_of_a_record:score"})
    scored = replace(inputs, config=inputs.config.model_copy(update={"grading": grading}))
    before = record_of(scored).reward
    assert before == record_of(scored).reward != record_of(inputs).reward == ""
    (tmp_path / "own_reward_of_a_record.py").write_text("def score(problem, text): return 0\n")
    assert record_of(scored).reward != before


@pytest.mark.parametrize("name", ["inputs.json", "row_hashes.npz"])
@pytest.mark.parametrize("content", ["", "{}", None])
def test_a_damaged_record_is_one_error_that_names_both_files(inputs, tmp_path, name, content):
    folder = RunFolder(tmp_path)
    write_record(folder, record_of(inputs))
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    elif name == "inputs.json":
        return  # then it is a folder of an older version
    with pytest.raises(ConfigError, match=r"inputs\.json and row_hashes\.npz cannot be read"):
        read_record(folder)


def test_an_evaluation_on_other_problems_says_how_they_differ_and_one_on_fewer_does_not(
    inputs, tmp_path
):
    folder = RunFolder(tmp_path)
    assert note_on_test(folder, inputs) == ""
    write_record(folder, record_of(inputs))
    for texts in ("xy", "x", "xyz"):
        assert note_on_test(folder, replace(inputs, test=problems(texts))) == ""
    assert note_on_test(folder, replace(inputs, test=problems("zyx"))) == (
        "these are not the test problems of the run: 2 rows before, 2 now; the first that differs "
        "is a.jsonl: row 2"
    )
