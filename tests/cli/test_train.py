"""What `score-ray train` refuses before it starts a run."""

from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from score_ray.cli.arguments import with_flags
from score_ray.cli.train import _advice
from score_ray.config.loading import dump, load
from score_ray.reporting.run_folder import RunFolder
from score_ray.training import inputs
from tests.support.command_line import invoke, refusal
from tests.support.tiny_model import make_model

RECIPE = Path("configs/arithmetic.yaml")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tied")


def refused(runs: Path, *words: object) -> str:
    return refusal("train", RECIPE, *words, "--runs", runs)


def claimed(runs: Path) -> Path:
    """Make a checkpoint, without content, in the run folder; return the place of its config."""
    (runs / "arithmetic" / "checkpoints" / "iteration_000010").mkdir(parents=True)
    return runs / "arithmetic" / "config.yaml"


def test_a_run_folder_of_another_config_is_refused_and_left_alone(tmp_path):
    saved = claimed(tmp_path)
    content = dump(load(RECIPE, ["seed=5"]))
    saved.write_text(content)
    assert "seed: 5 -> 0" in refused(tmp_path)
    assert saved.read_text() == content


def test_a_full_disk_is_named_before_the_data_are_read(tmp_path, monkeypatch):
    full = partial(open, "/dev/full", "wb", buffering=0)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full())
    task = "task={name: math, train: none.jsonl, test: none.jsonl}"
    assert refused(tmp_path / "runs", task) == (
        f"{tmp_path}/runs/arithmetic: no space left on device; make room there, or choose another "
        "folder with --runs"
    )
    assert not (tmp_path / "runs").exists()


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
        ("model.max_length=10", "leaves no room for a question"),
        ("model.max_length=4096", "is more than the"),
        ("task={name: math, train: none.jsonl, test: none.jsonl}", "none.jsonl: no such data file"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(override, message, tmp_path, model):
    assert message in refused(tmp_path, f"model.path={model}", override)
    assert not list(tmp_path.iterdir())


def test_bad_input_does_not_move_an_older_run_aside(tmp_path, model):
    saved = claimed(tmp_path)
    saved.write_text(dump(load(RECIPE)))
    before = sorted(tmp_path.rglob("*"))
    words = ("--fresh", f"model.path={model}", "model.max_length=10")
    assert "leaves no room for a question" in refused(tmp_path, *words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_another_program_is_refused_and_left_alone(tmp_path):
    (tmp_path / "arithmetic").mkdir()
    (tmp_path / "arithmetic" / "notes.txt").write_text("mine")
    for words in ((), ("--fresh",)):
        message = refused(tmp_path, *words)
        assert "arithmetic: this is no run folder, but it holds notes.txt; choose" in message
    assert [path.name for path in tmp_path.rglob("*")] == ["arithmetic", "notes.txt"]


def test_an_interruption_before_the_first_checkpoint_says_that_there_is_nothing_to_resume(tmp_path):
    assert _advice(RunFolder(tmp_path / "arithmetic")) == (
        "interrupted before the first checkpoint: the same command starts anew"
    )
    claimed(tmp_path)
    assert "resumes from the last checkpoint" in _advice(RunFolder(tmp_path / "arithmetic"))


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


def test_flags_set_the_model_the_data_and_its_columns(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(inputs, "check_inputs", lambda config, *_: seen.append(config) or 1 / 0)
    flags = {"--model_name": "a/b", "--dataset_name": "c", "--question_column": "d"}
    words = [word for flag in (*flags.items(), ("--answer_column", "e")) for word in flag]
    invoke("train", RECIPE, "task.name=math", "task.test=t", *words, "--runs", tmp_path)
    task = seen[0].task
    assert seen[0].model.path == "a/b"
    assert (task.train, task.question_column, task.answer_column) == ("c", "d", "e")


@pytest.mark.parametrize(
    "value", ["./base model #2", "no", "1", "a: b", "x@y:z", "'q'", " s ", "[1]", "{question}"]
)
def test_a_flag_is_taken_as_it_stands(value):
    chosen = with_flags(["seed=1"], {"--model_name": ("model.path", value)})
    assert load(RECIPE, chosen).model.path == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset_name", "/no/such/file.csv"], "task.train: the task"),
        (["--question_column", "nope"], "task.question_column: the task"),
        (["--answer_column", ""], "task.answer_column: the task"),
        (["--model_name", ""], "model.path: a text is expected that is not empty"),
        (["--model_name", "a", "model.path=b"], "--model_name 'a': 'model.path=b' sets model.path"),
        (["--dataset_name", "a", "task={name: math, train: b}"], "sets task.train too"),
        (["--dataset_name", "a", "task.train.0.weight=2"], "sets task.train too"),
    ],
)
def test_no_flag_is_ignored(words, message, tmp_path):
    assert message in refused(tmp_path, *words)
    assert not any(tmp_path.iterdir())


def test_a_flag_and_an_override_may_say_the_same():
    assert with_flags(["model.path=a"], {"--model_name": ("model.path", "a")})[-1] == "model.path=a"


def test_a_tilde_in_a_path_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"{tmp_path}/none.yaml: no such config file" in refusal("train", "~/none.yaml")
    assert f"{tmp_path}/none" in refusal("report", "~/none")


@pytest.mark.parametrize("words", [["--runs", ""], ["--runs", "  "]])
def test_an_empty_folder_of_runs_is_refused(words):
    result = invoke("train", RECIPE, *words)
    assert result.exit_code == 2
    assert "a path is expected; it is empty" in result.stderr
