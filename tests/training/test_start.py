import json
from dataclasses import replace
from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.reporting.json_lines import read_jsonl
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_claim import is_claimed
from score_ray.reporting.run_folder import RunFolder
from score_ray.tasks.arithmetic import Arithmetic
from score_ray.training import checkpoint
from score_ray.training.checkpoint import CheckpointError, Progress
from score_ray.training.inputs import Inputs
from score_ray.training.start import Start, plan_start
from score_ray.types import ConfigError, Problem, UnusableRow
from tests.support.sample_run_folder import make_run, numbers
from tests.support.tiny_model import make_model

RECIPE = Path("configs/arithmetic.yaml")
WHOLE = '{"iteration": 0, "stage": "stage_1", "split": "test"}'
SHORT = ["stages.0.iterations=2", "stages.1.iterations=2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tied", True)


def inputs_of(model: Path, *overrides: str, train: str = "abc") -> Inputs:
    config = load(RECIPE, [f"model.path={model}", *SHORT, *overrides])
    rows = [Problem(i, text, "1", source="a.csv", row=i) for i, text in enumerate(train)]
    return Inputs(config, str(model), Arithmetic(), lambda: None, rows, rows[:1])


def carry_out(start: Start) -> list[str]:
    """Claim the folder as `train` does, and return what is said."""
    said: list[str] = []
    start.claim(said.append)
    Reporter(start.folder, 4, start.iteration, quiet=True).close()
    return said


@pytest.fixture
def folder(tmp_path, model) -> RunFolder:
    """A finished run of 4 iterations."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    carry_out(plan_start(run, inputs_of(model), fresh=False))
    make_run(run.path, 0, 4)
    checkpoint.save(run.checkpoints, Progress(4), lambda _: None, keep=2)
    run.model.mkdir()
    return run


def content(folder: RunFolder) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}


def test_planning_writes_nothing(folder, model):
    before = content(folder)
    for fresh in (True, False):
        plan_start(folder, inputs_of(model), fresh)
    assert content(folder) == before


def test_the_same_inputs_resume_from_the_newest_checkpoint(folder, model):
    start = plan_start(folder, inputs_of(model), fresh=False)
    assert (start.iteration, start.notes, start.moves_aside) == (4, (), False)
    assert carry_out(start) == []
    assert numbers(folder.path, "metrics") == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("train", "change"),
    [("ab", "1 are missing at the end"), ("abd", "a.csv: row 2"), ("acb", "in another order")],
)
def test_other_rows_are_refused_by_what_differs_and_leave_the_run_alone(
    folder, model, train, change
):
    before = content(folder)
    with pytest.raises(ConfigError, match="run of other data; .*--fresh") as caught:
        plan_start(folder, inputs_of(model, train=train), fresh=False)
    assert "  task.train: generated problems: " in str(caught.value)
    assert change in str(caught.value)
    assert content(folder) == before


def test_another_model_in_the_same_place_is_refused(folder, model, tmp_path):
    other = make_model(tmp_path / "other", False)
    with pytest.raises(ConfigError, match=rf"model\.path: {other} holds another model than befor"):
        plan_start(folder, inputs_of(other), fresh=False)


def test_a_run_of_an_older_version_resumes_with_a_note_and_is_compared_from_then_on(folder, model):
    folder.inputs.unlink()
    start = plan_start(folder, inputs_of(model, train="xyz"), fresh=False)
    assert "whether its data changed cannot be said" in carry_out(start)[0]
    with pytest.raises(ConfigError, match="run of other data"):
        plan_start(folder, inputs_of(model), fresh=False)


def test_fresh_moves_everything_aside_and_begins_anew_under_any_config(folder, model):
    before = {Path(path).name for path in content(folder)}
    start = plan_start(folder, inputs_of(model, "seed=7", train="xyz"), fresh=True)
    said = carry_out(start)
    aside = folder.path.with_name("run.1")
    assert said == [f"what {folder} held is now in {aside}"]
    assert {Path(path).name for path in content(RunFolder(aside))} == before
    assert not is_claimed(folder)
    assert folder.config().seed == 7
    assert numbers(folder.path, "metrics") == []
    plan_start(RunFolder(aside), inputs_of(model), fresh=False)


def test_fresh_needs_nothing_of_the_old_folder_to_be_readable(folder, model):
    folder.config_file.write_bytes(b"\xff{")
    folder.inputs.write_text("{")
    (folder.path / "metrics.jsonl").write_text("{\n{\n")
    (next(folder.checkpoints.iterdir()) / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        plan_start(folder, inputs_of(model), fresh=False)
    assert len(carry_out(plan_start(folder, inputs_of(model), fresh=True))) == 1


def unclaimed(folder: RunFolder) -> None:
    """Make the run one that ended before its first checkpoint."""
    (folder.path / "checkpoints").rename(folder.path.with_name("gone"))
    folder.model.rmdir()


@pytest.mark.parametrize("change", [{"train": "ab"}, {"overrides": ["seed=5"]}])
def test_a_run_without_a_checkpoint_makes_room_for_another_and_is_not_lost(folder, model, change):
    unclaimed(folder)
    overrides = change.pop("overrides", [])
    start = plan_start(folder, inputs_of(model, *overrides, **change), fresh=False)
    said = carry_out(start)
    assert "has left neither checkpoint nor model" in said[0]
    assert said[1].endswith("run.1")
    assert numbers(folder.path.with_name("run.1"), "metrics") == [0, 1, 2, 3]
    assert numbers(folder.path, "metrics") == []


def test_a_start_that_recorded_nothing_is_replaced(tmp_path, model):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    carry_out(plan_start(run, inputs_of(model), fresh=False))
    carry_out(plan_start(run, inputs_of(model, "seed=5"), fresh=False))
    assert run.config().seed == 5
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("text", ["x: [", "", "colour: red"])
def test_a_folder_that_nobody_claims_may_hold_a_config_that_cannot_be_read(tmp_path, model, text):
    run = RunFolder(tmp_path / "run")
    make_run(run.path, 0, 1)
    run.config_file.write_text(text)
    said = carry_out(plan_start(run, inputs_of(model), fresh=False))
    assert said[1] == f"what {run} held is now in {run}.1"
    assert run.config() == inputs_of(model).config


def test_the_same_run_without_a_checkpoint_says_that_it_starts_anew(folder, model):
    unclaimed(folder)
    start = plan_start(folder, inputs_of(model), fresh=False)
    assert (start.saved, start.moves_aside) == (None, False)
    assert carry_out(start) == ["there is no checkpoint yet: the run starts anew"]
    assert numbers(folder.path, "metrics") == []


@pytest.mark.parametrize(
    ("name", "line"),
    [("metrics", "{"), ("metrics", "[1, 2]"), ("evals", "\0\0"), ("events", "3"),
     ("generations", '{"problem": 1}')],
)  # fmt: skip
def test_a_damaged_record_is_one_line_that_names_file_and_line(folder, model, name, line):
    path = folder.path / f"{name}.jsonl"
    path.write_text(f"{WHOLE}\n{line}\n{WHOLE}\n")
    with pytest.raises(ConfigError, match=rf"{name}\.jsonl, line 2: .*; mend the line, or remove"):
        plan_start(folder, inputs_of(model), fresh=False)


def test_a_run_whose_last_stage_grew_goes_on_and_keeps_its_evaluations(folder, model):
    start = plan_start(folder, inputs_of(model, "stages.1.iterations=6"), fresh=False)
    assert start.iteration == 4
    said = carry_out(start)
    assert said[0].startswith("learner.decay_to: the learning rate decays over 8 iterations now")
    assert said[1] == "stage_2 ended after 4 iterations, and is now longer"
    labels = {r["iteration"]: r["label"] for r in read_jsonl(folder.path / "evals.jsonl")}
    assert labels == {0: "base", 2: "stage_1", 4: "iteration 4"}
    assert "iteration 4  arithmetic/test" in (folder.path / "accuracies.txt").read_text()
    assert folder.model_updates == 4
    assert folder.config().iterations == 8


def test_a_run_that_was_cut_off_may_become_longer_before_its_end(folder, model):
    checkpoint.save(folder.checkpoints, Progress(3), lambda _: None, keep=1)
    start = plan_start(folder, inputs_of(model, "stages.1.iterations=6"), fresh=False)
    assert (start.iteration, start.grown) == (3, None)
    assert len(carry_out(start)) == 1  # on the learning rate


def test_a_further_stage_leaves_the_name_of_the_one_before(folder, model):
    inputs = inputs_of(model)
    third = inputs.config.stages[1].model_copy(update={"name": "third"})
    longer = inputs.config.model_copy(update={"stages": (*inputs.config.stages, third)})
    start = plan_start(folder, replace(inputs, config=longer), fresh=False)
    assert (start.iteration, start.grown) == (4, None)
    carry_out(start)
    assert read_jsonl(folder.path / "evals.jsonl")[-1]["label"] == "stage_2"


def test_rows_that_were_left_out_are_named_in_the_folder(tmp_path, model):
    run = RunFolder(tmp_path)
    left_out = (UnusableRow("a.csv", 3, "no answer"),)
    start = plan_start(run, replace(inputs_of(model), left_out=left_out), fresh=False)
    start.claim(print)
    assert run.unusable_rows() == [{"source": "a.csv", "row": 3, "reason": "no answer"}]
    assert json.loads(run.inputs.read_text())["train"]["rows"] == 3
