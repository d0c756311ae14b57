import json

import pytest

from score_ray.reporting.metrics import step_result
from score_ray.reporting.report_page import time_rows, write_report
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import RunFolder
from score_ray.types import UnusableRow
from tests.support.sample_run_folder import make_run, metrics_record

EVIL = "<script>alert('x')</script> & <b>4</b>"


def test_the_report_escapes_and_holds_everything(tmp_path):
    folder = tmp_path / "a<b>"
    make_run(folder, 0, 4, EVIL)
    (folder / "config.yaml").write_text("model: <evil & co>\n")
    write_report(RunFolder(folder))
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &lt;b&gt;4" in page
    assert "model: &lt;evil &amp; co&gt;" in page
    assert "<h1>score_ray: a&lt;b&gt;</h1>" in page
    assert "<tr><td>update</td><td>0.50</td><td>25.0%</td></tr>" in page
    assert "<h2>Losses and recoveries</h2>\n<p>None.</p>" in page
    assert "<td>stage_2</td><td>30.0%</td>" in page
    assert "Iteration 0" in page
    assert "Iteration 3" in page
    assert "Iteration 1" not in page
    assert "data:image/png;base64," in page
    assert "http" not in page  # nothing is loaded from elsewhere
    assert "prefers-color-scheme: dark" in page


def test_the_transfer_has_no_share_of_its_own_as_it_lies_within_the_broadcast():
    record = metrics_record(0) | {"time/broadcast": 0.25}
    assert time_rows([step_result(record)]) == [
        ("weights (in broadcast)", "0.12", ""),
        ("rollout", "1.00", "50.0%"),
        ("update", "0.50", "25.0%"),
        ("iteration", "2.00", "100.0%"),
        ("broadcast", "0.25", "12.5%"),
    ]


def test_the_report_names_the_rows_that_were_left_out(tmp_path):
    make_run(tmp_path, 0, 1)
    write_report(RunFolder(tmp_path))
    assert "Rows left out" not in (tmp_path / "report.html").read_text()
    rows = [UnusableRow("a<b>.csv", row, "too long") for row in range(53)]
    RunFolder(tmp_path).write_unusable_rows(rows)
    write_report(RunFolder(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "<p>53 rows cannot be used; rows are counted from 0.</p>" in page
    assert "<tr><td>a&lt;b&gt;.csv</td><td>49</td><td>too long</td></tr>" in page
    assert "<td>50</td>" not in page
    assert "3 more are in unusable_rows.jsonl" in page


def test_the_report_shows_what_was_lost_and_when_it_was_back(tmp_path):
    make_run(tmp_path, 0, 2)
    reporter = Reporter(RunFolder(tmp_path), 4, 2, quiet=True)
    for number in range(26):
        reporter.event("rollout_actor", "rollout actor 1", "died <b>")
        reporter.event("rollout_actor", "rollout actor 1", "serves again", seconds=number / 2)
    write_report(RunFolder(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "lost: rollout actor 26 times (back after 6.2 s, at most 12.5 s)" in page
    assert "<td>2</td><td>rollout actor 1</td><td>died &lt;b&gt;</td><td></td>" in page
    assert "<td>serves again</td><td>12.0</td>" in page
    assert "<td>serves again</td><td>12.5</td>" not in page
    assert "2 more are in events.jsonl" in page


def test_a_report_can_be_made_early_and_again(tmp_path):
    with (tmp_path / "metrics.jsonl").open("w") as file:
        file.write(json.dumps(metrics_record(0)) + "\n")
    write_report(RunFolder(tmp_path))
    first = (tmp_path / "report.html").read_bytes()
    write_report(RunFolder(tmp_path))
    assert (tmp_path / "report.html").read_bytes() == first


def test_without_metrics_there_is_no_report(tmp_path):
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        write_report(RunFolder(tmp_path))
