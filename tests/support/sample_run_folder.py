"""The run folder of a small run, for tests of its readers."""

from pathlib import Path

from score_ray.reporting.json_lines import read_jsonl
from score_ray.reporting.metrics import step_result
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import RunFolder
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Problem, Verdict


def metrics_record(iteration: int, stage: str = "stage_1") -> dict:
    """Return a whole record of metrics.jsonl."""
    return {
        "iteration": iteration,
        "stage": stage,
        "version": iteration + 1,
        "stale": 0,
        "train/acc_t1": 0.3125,
        "train/acc_t2": 0.4,
        "train/delta": 0.0875,
        "train/i_to_c": 0.1,
        "train/c_to_i": 0.0125,
        "train/changed": 0.5,
        "train/truncated_t1": 0.0,
        "train/reward_t1": 0.3125,
        "train/truncated_t2": 0.0,
        "train/reward_t2": 0.4,
        "train/flat_t1": 0.5,
        "train/flat_t2": 0.25,
        "tokens/sampled": 640,
        "verdict/correct_t1": 25,
        "verdict/wrong_t1": 55,
        "verdict/correct_t2": 32,
        "verdict/wrong_t2": 48,
        "kl/t1": 0.002,
        "kl/t2": 0.013,
        "kl_coef/t1": 0.3,
        "kl_coef/t2": 0.1,
        "loss": -0.25,
        "mismatch/truncated": 0.0,
        "mismatch/sampled_mean_abs": 1e-7,
        "mismatch/sampled_max_abs": 1e-6,
        "mismatch/kl": 1e-12,
        "grad_norm": 0.75,
        "lr": 1e-4,
        "mismatch/logp_mean_abs": 1e-6,
        "weights/checked": 2,
        "time/weights": 0.125,
        "restarts/rollout": 1,
        "restarts/learner": 0,
        "rows/trained": 80,
        "tokens/trained": 1280,
        "time/rollout": 1.0,
        "time/update": 0.5,
        "time/iteration": 2.0,
    }


def eval_line(iteration: int) -> dict:
    """Return a whole record of evals.jsonl."""
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
    return GradedEpisode.by_verdict(
        Episode(problem, sample, (first, second)), (Verdict.CORRECT, Verdict.TRUNCATED)
    )


def make_run(folder: Path, start: int, stop: int, text: str = "4") -> None:
    """Write what the trainer writes for iterations start to stop, with an evaluation every 2."""
    reporter = Reporter(RunFolder(folder), 4, start, quiet=True)
    if start == 0:
        reporter.evaluation(eval_line(0), "base")
    for i in range(start, stop):
        reporter.generations([episode(text), episode(text, 1), episode(text, 2)], i, limit=2)
        reporter.iteration(step_result(metrics_record(i, "stage_1" if i < 2 else "stage_2")))
        if (i + 1) % 2 == 0:
            reporter.evaluation(eval_line(i + 1), f"stage_{(i + 1) // 2}")
    reporter.close()


def numbers(folder: Path, name: str) -> list[int]:
    """Return the iterations of the records of a .jsonl file."""
    return [record["iteration"] for record in read_jsonl(folder / f"{name}.jsonl")]
