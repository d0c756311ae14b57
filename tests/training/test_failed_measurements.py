"""When failed measurements end a run: by hand, and in the loop with fakes."""

import pytest

from score_ray.algorithm.metrics import measure_episodes
from score_ray.reporting.json_lines import read_jsonl
from score_ray.reporting.metrics import StepResult, step_result
from score_ray.training.failed_measurements import (
    refuse_failed_evaluation,
    refuse_failed_iteration,
)
from score_ray.types import GradedEpisode, RunError, Verdict
from tests.support import fake_roles
from tests.support.fake_roles import metrics, run
from tests.support.graded_episodes import graded

C, W, ERROR, TIMEOUT = Verdict.CORRECT, Verdict.WRONG, Verdict.GRADER_ERROR, Verdict.TIMEOUT
HALF = [graded(("1", "4"), (ERROR, C)), graded(("1", "4"), (W, TIMEOUT))]
THREE_QUARTERS = [graded(("1", "4"), (ERROR, TIMEOUT)), graded(("1", "4"), (W, ERROR))]
ALL = [graded(("1", "4"), (ERROR, TIMEOUT))]


def step(failed: int, measured: int) -> StepResult:
    return step_result(
        {"iteration": 0, "stage": "one", "train/acc_t1": 0.0,
         "verdict/grader_error_t1": failed, "verdict/wrong_t1": measured}
    )  # fmt: skip


def test_an_iteration_in_which_everything_failed_ends_the_run():
    with pytest.raises(RunError, match="every measurement of an iteration failed: no service"):
        refuse_failed_iteration(measure_episodes(ALL), list, 1.0, "no service")


@pytest.mark.parametrize(
    ("before", "now", "most", "ends"),
    [
        ([step(3, 1), step(3, 1)], THREE_QUARTERS, 0.5, True),
        ([step(3, 1), step(2, 2)], THREE_QUARTERS, 0.5, False),  # half is not more than half
        ([step(3, 1), step(3, 1)], HALF, 0.5, False),
        ([step(2, 2), step(1, 3)], HALF, 0.2, True),
        ([step(3, 1)], THREE_QUARTERS, 0.5, False),  # only two yet
        ([step(3, 1), step(3, 1)], THREE_QUARTERS, 1.0, False),
        ([step(0, 4), step(0, 4), step(3, 1), step(3, 1)], THREE_QUARTERS, 0.5, True),
    ],
)
def test_three_iterations_in_a_row_beyond_the_limit_end_the_run(before, now, most, ends):
    episodes = measure_episodes(now)
    if not ends:
        refuse_failed_iteration(episodes, lambda: before, most, "no service")
        return
    with pytest.raises(RunError, match="in 3 iterations in a row, more than grading.max_failed"):
        refuse_failed_iteration(episodes, lambda: before, most, "no service")


def test_the_iterations_before_are_not_read_without_need():
    refuse_failed_iteration(measure_episodes(HALF), lambda: 1 / 0, 0.5, "")


def test_an_evaluation_without_any_measurement_of_an_attempt_is_no_evaluation():
    refuse_failed_evaluation(HALF, "no service")
    refuse_failed_evaluation([], "")
    with pytest.raises(RunError, match="every measurement of attempt 1 did: no service"):
        refuse_failed_evaluation(ALL, "no service")
    with pytest.raises(RunError, match="every measurement of attempt 2 did"):
        refuse_failed_evaluation([graded(("4", "4"), (C, ERROR))], "no service")


class Failing(fake_roles.Inline):
    """A grader of which the first `healthy` collections are right, and later ones fail.

    The first sample of a problem is measured all the same, unless `always`.
    """

    healthy, always, collected = 0, False, 0

    def collect(self):
        episodes, self.fault = super().collect(), ""
        type(self).collected += 1
        if self.collected <= self.healthy:
            return episodes
        self.fault = "OSError: no service"
        failed = [self.always or g.episode.sample > 0 for g in episodes]
        return [
            GradedEpisode.by_verdict(g.episode, (ERROR, ERROR)) if bad else g
            for g, bad in zip(episodes, failed, strict=True)
        ]


def run_with(monkeypatch, folder, *more: str, **grader):
    kind = type("FailingNow", (Failing,), {"collected": 0, **grader})
    monkeypatch.setattr(fake_roles, "Inline", kind)
    return run(folder, more=more)


def test_a_run_whose_grader_never_works_ends_before_it_trains(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="an evaluation failed: .* OSError: no service"):
        run_with(monkeypatch, tmp_path, always=True)
    assert metrics(tmp_path) == []
    assert read_jsonl(tmp_path / "evals.jsonl") == []


def test_a_run_whose_grader_fails_later_ends_before_the_update_and_keeps_its_checkpoint(
    tmp_path, monkeypatch
):
    """The base evaluation and six iterations are healthy; the checkpoint is after five."""
    with pytest.raises(RunError, match="every measurement of an iteration failed"):
        run_with(monkeypatch, tmp_path, "stages.0.iterations=8", healthy=7, always=True)
    assert len(metrics(tmp_path)) == 6
    assert [p.name[-2:] for p in (tmp_path / "checkpoints").iterdir()] == ["05"]
    assert [r["iteration"] for r in read_jsonl(tmp_path / "evals.jsonl")] == [0]


def test_a_run_goes_on_for_two_iterations_beyond_the_limit_or_with_a_higher_one(
    tmp_path, monkeypatch
):
    with pytest.raises(RunError, match="88%, 88%, 88% of the measurements failed in 3 iterations"):
        run_with(monkeypatch, tmp_path / "cut", "stages.0.iterations=9", healthy=4)
    assert [r["verdict/grader_error_t1"] for r in metrics(tmp_path / "cut")[3:]] == [35, 35]
    run_with(monkeypatch, tmp_path / "whole", "grading.max_failed=0.9", healthy=4)
    assert len(metrics(tmp_path / "whole")) == 12
