from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.reporting.json_lines import read_jsonl
from score_ray.reporting.metrics import step_record
from score_ray.reporting.report_page import write_report
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import RunFolder
from score_ray.reporting.transcripts import accuracies_text, generations_text
from score_ray.types import ConfigError
from tests.support.sample_run_folder import episode, eval_line, make_run, metrics_record, numbers

CONFIG = load(Path("configs/arithmetic.yaml"))


def texts_derive(folder: Path) -> bool:
    """Return whether both text files say what their .jsonl files say."""
    generations = generations_text(read_jsonl(folder / "generations.jsonl"))
    accuracies = accuracies_text(read_jsonl(folder / "evals.jsonl"))
    return (folder / "generations.txt").read_text() == generations and (
        folder / "accuracies.txt"
    ).read_text() == accuracies


def test_a_run_writes_a_line_for_each_iteration_evaluation_and_episode(tmp_path):
    make_run(tmp_path, 0, 4)
    assert numbers(tmp_path, "metrics") == [0, 1, 2, 3]
    assert numbers(tmp_path, "evals") == [0, 2, 4]
    assert numbers(tmp_path, "generations") == [0, 0, 1, 1, 2, 2, 3, 3]
    assert read_jsonl(tmp_path / "metrics.jsonl")[1] == metrics_record(1)
    assert read_jsonl(tmp_path / "evals.jsonl")[0] == {**eval_line(0), "label": "base"}
    assert read_jsonl(tmp_path / "generations.jsonl")[1] == {
        "iteration": 0,
        "problem": 5,
        "sample": 1,
        "question": "What is 2 + 2?",
        "answer": "4",
        "attempts": ["4", "four\n"],
        "verdicts": ["correct", "truncated"],
        "finish": ["stop", "length"],
    }
    assert texts_derive(tmp_path)
    assert len((tmp_path / "accuracies.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("resume_at", "metrics", "evals"),
    [(0, [], []), (1, [0], [0]), (2, [0, 1], [0, 2]), (3, [0, 1, 2], [0, 2])],
)
def test_resume_drops_what_comes_later(tmp_path, resume_at, metrics, evals):
    make_run(tmp_path, 0, 4)
    Reporter(RunFolder(tmp_path), 4, resume_at, quiet=True).close()
    assert numbers(tmp_path, "metrics") == metrics
    assert numbers(tmp_path, "generations") == [i for i in metrics for _ in range(2)]
    assert numbers(tmp_path, "evals") == evals
    assert texts_derive(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("resume_at", [0, 1, 2, 3])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, resume_at):
    make_run(tmp_path / "whole", 0, 4)
    make_run(tmp_path / "broken", 0, 3)
    for name in ("metrics", "evals", "generations"):
        with (tmp_path / "broken" / f"{name}.jsonl").open("ab") as file:
            file.write('{"iteration": 3, "question": "é'.encode()[:-1])  # inside a character
    make_run(tmp_path / "broken", resume_at, 4)
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "broken" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_resume_keeps_the_events_but_not_a_half_written_line(tmp_path):
    make_run(tmp_path, 0, 2)
    assert not (tmp_path / "events.jsonl").exists()
    reporter = Reporter(RunFolder(tmp_path), 4, 2, quiet=True)
    reporter.event("rollout_actor", "rollout actor 1", "the process died")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    reporter = Reporter(RunFolder(tmp_path), 4, 0, quiet=True)
    reporter.event("rollout_actor", "rollout actor 1", "serves again", seconds=2.5)
    reporter.event("rollout_actor", "rollout actor 1", "the process died")
    assert numbers(tmp_path, "events") == [2, 0, 0]
    assert [r.get("seconds") for r in read_jsonl(tmp_path / "events.jsonl")] == [None, 2.5, None]


def test_only_the_last_line_may_be_half_written(tmp_path):
    path = tmp_path / "a.jsonl"
    assert read_jsonl(path) == []
    path.write_text('{"a": 1}\n{"a": 2}')
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a": ')
    assert read_jsonl(path) == [{"a": 1}]
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: not a JSON record; mend the line"):
        read_jsonl(path)


@pytest.mark.parametrize("line", ["[1, 2]", "3", "null", "\0\0", ""])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"a": 3}}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: not a JSON record"):
        read_jsonl(path)


def test_a_record_with_a_fault_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}\n{"a": 3}')
    assert len(read_jsonl(path)) == 3
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: it has b; mend the line"):
        read_jsonl(path, lambda record: "it has b" if "b" in record else "")


def test_any_text_is_kept_in_the_records_and_in_the_report(tmp_path):
    text = "a\u2028b\r\nc \ud800 é [bold]"
    make_run(tmp_path, 0, 1, text)
    assert read_jsonl(tmp_path / "generations.jsonl")[0]["attempts"][0] == text
    Reporter(RunFolder(tmp_path), 4, 1, quiet=True).close()
    assert numbers(tmp_path, "generations") == [0, 0]
    write_report(RunFolder(tmp_path))


def test_a_trained_model_needs_a_config_and_a_model(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(ConfigError, match=r"not a run folder: it has no config\.yaml"):
        folder.trained_model()
    folder.write_config(CONFIG)
    with pytest.raises(ConfigError, match="has no model yet; a finished run leaves one"):
        folder.trained_model()
    assert not folder.has_model
    (tmp_path / "model").mkdir()
    assert folder.trained_model() == tmp_path / "model"


def test_a_folder_says_whether_a_run_has_left_records_or_a_whole_checkpoint(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (folder.checkpoints / ".tmp-iteration_000010").mkdir(parents=True)
    assert not folder.has_records
    make_run(folder.path, 0, 1)
    assert folder.has_records
    assert not folder.has_checkpoint
    (folder.checkpoints / "iteration_000010").mkdir()
    assert folder.has_checkpoint


def test_the_updates_of_the_model_are_recorded_and_otherwise_those_of_its_last_evaluation(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.model_updates == 0
    make_run(tmp_path, 0, 4)
    assert folder.model_updates == 4
    folder.write_model_updates(2)
    assert folder.model_updates == 2


def test_extra_samples_of_the_model_before_are_kept_under_another_name(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_model_updates(4)
    for model in ("model", "base"):
        folder.extra_samples("attempts", model).parent.mkdir(exist_ok=True)
        folder.extra_samples("attempts", model).write_text("")
    folder.write_model_updates(4)
    assert len(folder.all_extra_samples()) == 2
    folder.write_model_updates(6)
    names = {path.name for path in (tmp_path / "study").iterdir()}
    assert names == {"attempts_model.jsonl.after_4", "attempts_base.jsonl"}
    assert folder.all_extra_samples() == [folder.extra_samples("attempts", "base")]


def test_records_are_read_by_split_and_counted_without_parsing(tmp_path):
    folder = RunFolder(tmp_path)
    assert (folder.iterations_done(), folder.steps(), folder.evals(), folder.answers()) == (
        0, [], [], {},
    )  # fmt: skip
    make_run(tmp_path, 0, 4)
    assert folder.iterations_done() == 4
    assert [step_record(step) for step in folder.steps()] == folder.metrics()
    assert len(folder.evals()) == len(folder.evals("test")) == 3
    assert folder.evals("held_out") == []
    folder.write_answers([episode("4")], 7)
    assert [r["problem"] for r in folder.answers()[7]] == [5]
