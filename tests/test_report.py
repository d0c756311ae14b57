"""The run folder: what is written, what a resume drops, and what is derived."""

import io
import json
import struct
from pathlib import Path

import pytest
from rich.console import Console

from score_ray.page import write_report
from score_ray.plot import plot_accuracy, smooth
from score_ray.records import accuracies_text, generations_text, read_jsonl
from score_ray.report import Reporter, duration, progress_line, results_table
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Problem, Verdict

EVIL = "<script>alert('x')</script> & <b>4</b>"


def metrics_record(iteration: int, stage: str = "stage_1") -> dict:
    return {
        "iteration": iteration,
        "stage": stage,
        "train/acc_t1": 0.3125,
        "train/acc_t2": 0.4,
        "train/delta": 0.0875,
        "kl/t1": 0.002,
        "kl/t2": 0.013,
        "restarts/rollout": 1,
        "time/rollout": 1.0,
        "time/update": 0.5,
        "time/iteration": 2.0,
    }


def eval_line(iteration: int) -> dict:
    return {
        "iteration": iteration,
        "task": "arithmetic",
        "split": "test",
        "n": 100,
        "acc_t1": 0.3,
        "acc_t2": 0.25,
        "delta": -0.05,
        "i_to_c": 0.05,
        "c_to_i": 0.1,
        "changed": 0.5,
        "edit_ratio": 0.2,
    }


def episode(text: str, sample: int = 0) -> GradedEpisode:
    first = Attempt((1,), (2,), (-0.1,), text, Finish.STOP, 0)
    second = Attempt((1, 2, 3), (4,), (-0.1,), "four\n", Finish.LENGTH, 0)
    problem = Problem(5, "What is 2 + 2?", "4")
    return GradedEpisode(
        Episode(problem, sample, (first, second)), (Verdict.CORRECT, Verdict.TRUNCATED)
    )


def make_run(folder: Path, start: int, stop: int, text: str = "4") -> None:
    """What the loop writes for iterations start to stop, with an evaluation at every 2."""
    reporter = Reporter(folder, 4, start, quiet=True)
    if start == 0:
        reporter.evaluation(eval_line(0), "base")
    for i in range(start, stop):
        reporter.generations([episode(text), episode(text, 1), episode(text, 2)], i, limit=2)
        reporter.iteration(metrics_record(i, "stage_1" if i < 2 else "stage_2"))
        if (i + 1) % 2 == 0:
            reporter.evaluation(eval_line(i + 1), f"stage_{(i + 1) // 2}")
    reporter.close()


def numbers(folder: Path, name: str) -> list[int]:
    return [record["iteration"] for record in read_jsonl(folder / f"{name}.jsonl")]


def texts_derive(folder: Path) -> bool:
    """Whether both text files say what their .jsonl files say."""
    generations = generations_text(read_jsonl(folder / "generations.jsonl"))
    accuracies = accuracies_text(read_jsonl(folder / "evals.jsonl"))
    return (folder / "generations.txt").read_text() == generations and (
        folder / "accuracies.txt"
    ).read_text() == accuracies


def test_a_run_writes_a_line_each(tmp_path):
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
    Reporter(tmp_path, 4, resume_at, quiet=True).close()
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


def test_only_the_last_line_may_be_torn(tmp_path):
    path = tmp_path / "a.jsonl"
    assert read_jsonl(path) == []
    path.write_text('{"a": 1}\n{"a": 2}')
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a": ')
    assert read_jsonl(path) == [{"a": 1}]
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2"):
        read_jsonl(path)


def test_any_text_survives(tmp_path):
    text = "a\u2028b\r\nc \ud800 é [bold]"
    make_run(tmp_path, 0, 1, text)
    assert read_jsonl(tmp_path / "generations.jsonl")[0]["attempts"][0] == text
    Reporter(tmp_path, 4, 1, quiet=True).close()
    assert numbers(tmp_path, "generations") == [0, 0]
    write_report(tmp_path)


def test_progress_lines_are_plain_without_a_terminal(tmp_path, capsys):
    expected = "[ 12/200] stage_1  t1 .312  t2 .400  delta +.087  kl .002/.013  2.0 s"
    assert progress_line(metrics_record(11), 200) == expected
    reporter = Reporter(tmp_path, 200, 11)
    reporter.iteration(metrics_record(11))
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
    reporter = Reporter(tmp_path, 200, 11)
    reporter.iteration(metrics_record(11))
    reporter.note("above the bar")
    reporter.close()
    shown = capsys.readouterr().err
    assert "above the bar" in shown
    assert "[ 12/200] stage_1" in shown
    assert "6 min left" in shown


def test_quiet_is_silent(tmp_path, capsys):
    make_run(tmp_path, 0, 2)
    assert capsys.readouterr() == ("", "")


def test_durations_and_smoothing():
    assert [duration(s) for s in (42, 376, 12000)] == ["42 s", "6 min", "3 h 20 min"]
    assert smooth([0.0, 3.0, 6.0, 0.0], 1) == [1.5, 3.0, 3.0, 3.0]
    assert smooth([1.0, 2.0], 0) == [1.0, 2.0]


def test_results_table():
    console = Console(file=io.StringIO(), width=100)
    console.print(results_table([eval_line(0), eval_line(2)], ["[base]", "stage_1"]))
    shown = console.file.getvalue()
    cells = [line.replace("│", " ").split() for line in shown.splitlines()]
    assert ["[base]", "30.0%", "25.0%", "-5.0%", "5.0%", "10.0%"] in cells
    assert all(name in shown for name in ("weights", "t1", "t2", "delta", "i->c", "c->i"))
    with pytest.raises(ValueError, match="zip"):
        results_table([eval_line(0)], [])


@pytest.mark.parametrize("evals", [[], [eval_line(0), eval_line(4)]])
def test_the_plot_is_a_png(tmp_path, evals):
    out = tmp_path / "accuracy.png"
    plot_accuracy([metrics_record(i, f"stage_{1 + i // 2}") for i in range(4)], evals, out)
    content = out.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">II", content[16:24]) == (1350, 750)
    assert len(content) > 10_000


def test_the_report_escapes_and_holds_everything(tmp_path):
    folder = tmp_path / "a<b>"
    make_run(folder, 0, 4, EVIL)
    (folder / "config.yaml").write_text("model: <evil & co>\n")
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &lt;b&gt;4" in page
    assert "model: &lt;evil &amp; co&gt;" in page
    assert "<h1>score_ray: a&lt;b&gt;</h1>" in page
    assert "<tr><td>update</td><td>0.50</td><td>25.0%</td></tr>" in page
    assert "<tr><td>rollout</td><td>4</td></tr>" in page  # restarts
    assert "<td>stage_2</td><td>30.0%</td>" in page
    assert "Iteration 0" in page
    assert "Iteration 3" in page
    assert "Iteration 1" not in page
    assert "data:image/png;base64," in page
    assert "http" not in page  # nothing is loaded from elsewhere
    assert "prefers-color-scheme: dark" in page


def test_a_report_can_be_made_early_and_again(tmp_path):
    with (tmp_path / "metrics.jsonl").open("w") as file:
        file.write(json.dumps(metrics_record(0)) + "\n")
    write_report(tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    write_report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first


def test_no_metrics_no_report(tmp_path):
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        write_report(tmp_path)
