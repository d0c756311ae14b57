from pathlib import Path

import pytest

from score_ray.experiments.figures.series import RunRecords, Series, series_of, with_base_models
from score_ray.reporting.run_folder import RunFolder
from score_ray.types import ConfigError
from tests.support.sample_figure_run import evaluation, line, make_run, write


def series(label: str, *folders: Path) -> Series:
    return Series(label, tuple(map(RunFolder, folders)))


def greedy_attempts(folder: Path, base: bool) -> list[list[str]]:
    return [r["attempts"] for r in RunRecords(RunFolder(folder)).greedy(base)]


def test_a_run_is_judged_by_its_last_evaluation_on_the_test_split(tmp_path):
    folder = make_run(tmp_path / "run")
    assert greedy_attempts(folder, base=True) == [["1", "1"], ["2", "2"], ["1", "2"]]
    assert greedy_attempts(folder, base=False) == [["1", "1"], ["2", "1"], ["2", "3"]]
    # A checkpoint before the last one was selected, and is evaluated after the others.
    lines = [evaluation(4, 0, 0, 0), evaluation(2, 0, 0, 0), evaluation(4, 0, 0, 0, "held_out")]
    write(folder / "evals.jsonl", lines)
    write(folder / "answers/after_000002.jsonl", [line(0, "5 6")])
    assert greedy_attempts(folder, base=False) == [["5", "6"]]


def test_without_answers_the_extra_attempts_show_how_a_model_answers(tmp_path):
    folder = make_run(tmp_path / "run")
    for path in (folder / "answers").iterdir():
        path.unlink()
    assert greedy_attempts(folder, base=False) == []
    write(folder / "study/attempts_model.jsonl", [line(0, "7 8 9")])
    assert greedy_attempts(folder, base=False) == [["7", "8", "9"]]
    assert greedy_attempts(folder, base=True) == []


def test_runs_from_the_same_model_and_problems_share_a_base_model(tmp_path):
    a, b = make_run(tmp_path / "a", "seed=1"), make_run(tmp_path / "b", "seed=2")
    c = make_run(tmp_path / "c", "task.held_out=500")
    plotted = with_base_models([series("A", a, b), series("B", b)])
    assert [(p.label, p.base, len(p.runs)) for p in plotted] == [
        ("base model", True, 3), ("A", False, 2), ("B", False, 1),
    ]  # fmt: skip
    plotted = with_base_models([series("A", a), series("C", c)])
    assert [p.label for p in plotted] == ["base of A", "base of C", "A", "C"]


def test_a_folder_without_a_config_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere/config.yaml: no such config file"):
        with_base_models([series("A", tmp_path / "nowhere")])


def test_series_are_named_after_their_folders_unless_these_are_alike(tmp_path):
    def labels(*folders: Path) -> list[str]:
        return [s.label for s in series_of([*map(RunFolder, folders)])]

    a, b, c = tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "other"
    assert labels(a, c) == ["run", "other"]
    assert labels(a, b) == ["a", "b"]
    assert labels(a, b, tmp_path / "b" / "c" / "run") == ["a", "b", "b/c"]
    assert labels(a, a) == ["run", "run"]
