import json

import pytest

from tests.support.command_line import output, refusal
from tests.support.sample_run_folder import make_run


def test_the_page_and_the_plot_are_written_from_the_records(tmp_path):
    make_run(tmp_path, 0, 4)
    assert output("report", tmp_path) == f"{tmp_path / 'report.html'}\n"
    assert "stage_2" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "accuracy.png").is_file()


def test_a_run_without_records_has_no_report(tmp_path):
    assert "nothing to report" in refusal("report", tmp_path)


@pytest.mark.parametrize("name", ["metrics", "evals", "generations", "events"])
@pytest.mark.parametrize("line", ["[1, 2]", '"text"', "{", "7"])
def test_a_line_that_is_no_record_is_named_and_nothing_is_written(name, line, tmp_path):
    make_run(tmp_path, 0, 2)
    path = tmp_path / f"{name}.jsonl"
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{line}\n{before}{{}}\n")
    assert f"{path}, line 1: not a JSON record" in refusal("report", tmp_path)
    assert not (tmp_path / "report.html").exists()
    assert not (tmp_path / "accuracy.png").exists()


@pytest.mark.parametrize(
    ("name", "line", "what"),
    [
        ("metrics", {"iteration": 0}, "no 'stage' in this record"),
        ("metrics", {"stage": "a"}, "no 'iteration' in this record"),
        ("metrics", {"iteration": 0, "stage": "a", "kl/t1": "high"}, "'kl/t1' is not a number"),
        ("metrics", {"iteration": 0, "stage": 1}, "'stage' is not a text"),
        ("metrics", {"iteration": None, "stage": "a"}, "'iteration' is not a number"),
        ("evals", {"iteration": 0}, "no 'split' in this record"),
        ("evals", {"iteration": 0, "split": "test", "acc_t1": [1]}, "'acc_t1' is not a number"),
        ("generations", {"question": "1"}, "no 'iteration' in this record"),
    ],
)
def test_a_record_without_what_it_needs_is_named(name, line, what, tmp_path):
    make_run(tmp_path, 0, 2)
    path = tmp_path / f"{name}.jsonl"
    path.write_text(f"{json.dumps(line)}\n{path.read_text()}")
    assert f"{path}, line 1: {what}" in refusal("report", tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    assert refusal("report", tmp_path / "none") == f"{tmp_path / 'none'}: no such run folder"
