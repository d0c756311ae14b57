from score_ray.experiments.suites.report import sentence, wall_seconds, write_suite_report
from score_ray.experiments.suites.statistics import ClaimOutcome, Difference
from score_ray.experiments.suites.suite import Claim
from score_ray.experiments.suites.tables import ClaimResult
from score_ray.reporting.json_lines import append_lines
from tests.support.sample_suite import finish, planned

CLAIM = {"better": "score", "than": "plain", "metric": "delta", "source": "Table 4"}
LABELS = {"score": {"label": "SCoRe"}, "plain": {"label": "w/o <bonus> | plain"}}


def test_a_report_is_made_of_what_is_finished_and_names_what_is_missing(tmp_path):
    suite, runs = planned(tmp_path, claims=[CLAIM], variants=LABELS, figures=["plain"])
    folder = tmp_path / "runs" / "demo"
    finish(runs[0])
    finish(runs[1])
    append_lines(folder / "times.jsonl", [{"run": str(runs[0]), "began": 5.0, "seconds": 30.0}])
    assert write_suite_report(suite, runs, folder) == 2
    text, page = (folder / "results.md").read_text(), (folder / "report.html").read_text()
    assert "2 of 4 runs are finished. The runs took 30 s." in text
    assert "| SCoRe | 30.0 | 25.0 | -5.0 | 5.0 | 10.0 | 1 |" in text
    assert r"| w/o <bonus> \| plain | 30.0 |" in text
    assert "- plain/seed_1: 0 of 2 iterations" in text
    assert "w/o &lt;bonus&gt; | plain" in page
    assert "<bonus>" not in page
    assert "prefers-color-scheme: dark" in page
    for heading in ("Results", "Claims", "Within each run", "Budget", "Missing runs"):
        assert f"## {heading}\n" in text
        assert f"<h2>{heading}</h2>" in page
    assert "torch" in text
    assert '<img alt="Accuracy over training" src="data:image/png;base64,' in page
    assert (folder / "figures" / "accuracy.png").is_file()


def test_a_report_of_nothing_lists_every_run_as_missing(tmp_path):
    suite, runs = planned(tmp_path, claims=[CLAIM])
    assert write_suite_report(suite, runs, tmp_path / "new") == 4
    text = (tmp_path / "new" / "results.md").read_text()
    assert "## Results" not in text
    assert "SCoRe has a higher delta than plain (Table 4): not tested, runs are missing" in text


def test_claims_are_written_as_sentences(tmp_path):
    suite, _ = planned(tmp_path)
    claim = Claim(**CLAIM)
    held = ClaimResult(claim, Difference(5, 0.034, 0.012, 1e-7), 2e-3, ClaimOutcome.HOLDS)
    assert sentence(suite, held) == (
        "SCoRe has a higher delta than plain (Table 4): holds; +3.4 [+2.2, +4.6] points, "
        "5 seeds, p < 1e-6, after Holm 0.002."
    )
    single = ClaimResult(claim, Difference(1, 0.034, float("inf"), 1.0), 1.0, ClaimOutcome.OPEN)
    assert sentence(suite, single).endswith("(Table 4): open; +3.4 points with one seed.")
    less = Claim(better="score", than="plain", metric="c_to_i")
    reversed_ = ClaimResult(less, Difference(5, 0.02, 0.01, 0.01), 0.01, ClaimOutcome.REVERSED)
    assert sentence(suite, reversed_).startswith("SCoRe has a lower c->i than plain: reversed;")


def test_wall_time_counts_runs_side_by_side_once():
    times = [
        {"began": 100.0, "seconds": 10.0},
        {"began": 0.0, "seconds": 30.0},
        {"began": 20.0, "seconds": 20.0},
        {"began": 25.0, "seconds": 5.0},
    ]
    assert wall_seconds(times) == 50.0
    assert wall_seconds([]) == 0.0
