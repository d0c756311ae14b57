import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from tests.support.command_line import output, refusal

PAIRS = [(a, b) for a in range(10, 20) for b in range(10, 13)]


@pytest.fixture
def command(tmp_path) -> list[str]:
    """`grade` on thirty sums, of which the solution at index 3 is wrong."""
    answers = [str(a + b) for a, b in PAIRS]
    rows = {
        "q": [f"{a}+{b}=" for a, b in PAIRS],
        "a": answers,
        "solution": [*answers[:3], "1000", *answers[4:]],
    }
    source = tmp_path / "sums.jsonl"
    pandas.DataFrame(rows).to_json(source, orient="records", lines=True)
    data = f"train: {source}, test: {source}, question_column: q, answer_column: a"
    return ["grade", "configs/arithmetic.yaml", f"task={{name: math, {data}}}"]


@pytest.mark.slow
def test_solutions_that_are_not_graded_correct_are_named(command):
    script = str(Path(sys.executable).with_name("score-ray"))
    done = subprocess.run([script, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout.startswith("29 correct, 1 wrong;")
    assert done.stdout.endswith("not correct: 3\n")


@pytest.mark.slow
def test_correct_solutions_are_counted(command):
    assert output(*command, "--column", "a").startswith("30 correct; ")


def test_a_column_that_is_not_there_is_named(command):
    assert "no column 'b'" in refusal(*command, "--column", "b")


@pytest.mark.parametrize("split", ["zzz", "dev", "validation"])
def test_a_split_that_is_neither_train_nor_test_is_refused(command, split):
    assert refusal(*command, "--split", split) == f"--split: '{split}' is neither train nor test"


def test_a_split_without_a_data_set_is_refused():
    data = "task={name: humaneval, test: tests/fixtures/humaneval.jsonl}"
    words = ("grade", "configs/arithmetic.yaml", data, "--split", "train", "--column", "prompt")
    assert "task.train: names no data set" in refusal(*words)


@pytest.mark.parametrize("override", ["grading.reward=mine:score", "grading.judge=true"])
def test_another_grader_than_the_tasks_own_is_refused(override, command):
    key = override.partition("=")[0]
    assert refusal(*command, override).startswith(f"{key}: `grade` takes the task's own check")


@pytest.mark.parametrize(
    "override",
    ["model.path=x", "stages.0.kl=[1, 1]", "learner={learning_rate: 1}", "grading.max_failed=0.1"],
)
def test_an_override_that_grading_does_not_use_is_refused(override, command):
    assert "`grade` does not use it; leave it out" in refusal(*command, override)
