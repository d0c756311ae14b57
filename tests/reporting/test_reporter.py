import io

import pytest
from rich.console import Console

from score_ray.reporting.json_lines import read_jsonl
from score_ray.reporting.metrics import step_result
from score_ray.reporting.reporter import (
    Reporter,
    duration,
    losses,
    progress_line,
    result_rows,
    results_table,
)
from score_ray.reporting.run_folder import RunFolder
from tests.support.sample_run_folder import eval_line, make_run, metrics_record, numbers


def test_progress_lines_are_plain_without_a_terminal(tmp_path, capsys):
    expected = "[ 12/200] stage_1  t1 .312  t2 .400  delta +.087  kl .002/.013  2.0 s"
    assert progress_line(step_result(metrics_record(11)), 200) == expected
    reporter = Reporter(RunFolder(tmp_path), 200, 11)
    reporter.iteration(step_result(metrics_record(11)))
    reporter.note("[red]actor 1 restarted " + "x" * 200)
    reporter.evaluation(eval_line(12), "stage_1")
    reporter.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [expected, "[red]actor 1 restarted " + "x" * 200]
    assert lines[2].startswith("stage_1  arithmetic/test n 100 after 12 updates:  t1 0.3000")
    assert len(lines) == 3


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    reporter = Reporter(RunFolder(tmp_path), 200, 11)
    reporter.iteration(step_result(metrics_record(11)))
    reporter.note("above the bar")
    reporter.close()
    shown = capsys.readouterr().err
    assert "above the bar" in shown
    assert "[ 12/200] stage_1" in shown
    assert "6 min left" in shown


def test_quiet_is_silent(tmp_path, capsys):
    make_run(tmp_path, 0, 2)
    assert capsys.readouterr() == ("", "")


def test_an_event_is_a_line_of_events_and_of_the_console(tmp_path, capsys):
    reporter = Reporter(RunFolder(tmp_path), 200, 11)
    reporter.event("rollout_actor", "rollout actor 0", "the process died while sampling")
    reporter.iteration(step_result(metrics_record(11)))
    reporter.event("rollout_actor", "rollout actor 0", "serves again", seconds=12.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "rollout actor 0: the process died while sampling"
    assert lines[2] == "rollout actor 0: serves again after 12 s"
    first, second = read_jsonl(tmp_path / "events.jsonl")
    assert first["iteration"] == 11
    assert first.keys() == {"time", "iteration", "kind", "who", "what"}
    assert (second["iteration"], second["seconds"]) == (12, 12.4)


def test_going_back_removes_later_records_and_keeps_the_events(tmp_path):
    make_run(tmp_path, 0, 4)
    reporter = Reporter(RunFolder(tmp_path), 8, 4, quiet=True)
    reporter.event("learner_rank", "learner rank 0", "the process died")
    reporter.rewind(2)
    assert numbers(tmp_path, "metrics") == [0, 1]
    assert numbers(tmp_path, "evals") == [0, 2]
    reporter.event("learner_rank", "learner rank 0", "all ranks are back", seconds=1.0)
    assert numbers(tmp_path, "events") == [4, 2]


def test_losses_are_counted_by_kind():
    lost = {"kind": "learner_rank", "who": "learner rank 0", "what": "died"}
    assert losses([lost, {**lost, "seconds": 3.0}, lost, {**lost, "seconds": 5.0}]) == (
        "lost: learner rank 2 times (back after 4.0 s, at most 5.0 s)"
    )
    assert losses([]) == "nothing was lost"


def test_durations_are_in_words():
    assert [duration(s) for s in (42, 376, 12000)] == ["42 s", "6 min", "3 h 20 min"]


def test_the_results_table_has_a_row_and_a_label_for_each_evaluation():
    console = Console(file=io.StringIO(), width=100)
    console.print(results_table([eval_line(0), eval_line(2)], ["[base]", "stage_1"]))
    shown = console.file.getvalue()
    cells = [line.replace("│", " ").split() for line in shown.splitlines()]
    assert ["[base]", "30.0%", "25.0%", "-5.0%", "5.0%", "10.0%"] in cells
    assert all(name in shown for name in ("weights", "t1", "t2", "delta", "i->c", "c->i"))
    with pytest.raises(ValueError, match="zip"):
        results_table([eval_line(0)], [])


def test_failed_measurements_are_shown_with_an_iteration_and_an_evaluation(tmp_path, capsys):
    failing = {"verdict/grader_error_t1": 20, "verdict/wrong_t1": 35}
    line = progress_line(step_result(metrics_record(11) | failing), 200)
    assert line.endswith("2.0 s  failed measurements: t1 25.0%")
    evaluated = {**eval_line(12), "failed_t1": 0.0, "failed_t2": 0.3}
    reporter = Reporter(RunFolder(tmp_path), 200, 11)
    reporter.evaluation(evaluated, "stage_1")
    reporter.close()
    assert capsys.readouterr().err.endswith("  failed measurements: t2 30.0%\n")
    assert result_rows([evaluated], ["one"])[0][0] == "one (failed measurements: t2 30.0%)"
