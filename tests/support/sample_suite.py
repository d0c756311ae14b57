"""A suite file and the files of its finished runs, for the tests of their readers."""

from pathlib import Path

import yaml

from score_ray.experiments.suites.suite import Suite, SuiteRun, load_suite, runs_of
from score_ray.reporting.json_lines import append_lines
from tests.support.sample_run_folder import eval_line, metrics_record

ARITHMETIC = Path("configs/arithmetic.yaml").resolve()
SHORT = "stages=[{name: stage_2, iterations: 2, reward: [1, 1], bonus: 10, kl: [0.3, 0.3]}]"


def tree(**changes) -> dict:
    """Return the content of a suite file: two trained variants with two seeds each."""
    return {
        "name": "demo",
        "config": str(ARITHMETIC),
        "overrides": [SHORT],
        "seeds": [0, 1],
        "variants": {
            "score": {"label": "SCoRe"},
            "plain": {"overrides": ["stages.0.bonus=0"]},
        },
        **changes,
    }


def write_suite(folder: Path, **changes) -> Path:
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(tree(**changes), sort_keys=False))
    return path


def planned(folder: Path, **changes) -> tuple[Suite, list[SuiteRun]]:
    """Return a suite and its runs, whose folders are under folder/runs."""
    suite = load_suite(write_suite(folder, **changes))
    return suite, runs_of(suite, folder / "runs")


def finish(run: SuiteRun, acc_t1: float = 0.3, acc_t2: float = 0.25, n: int = 100) -> None:
    """Write the files of a finished run; the second attempt broke 10 % of all answers."""
    run.folder.model.mkdir(parents=True)
    run.folder.write_config(run.config)
    delta = acc_t2 - acc_t1
    numbers = {"acc_t1": acc_t1, "acc_t2": acc_t2, "delta": delta, "i_to_c": 0.1 + delta,
               "c_to_i": 0.1, "n": n}  # fmt: skip
    last = eval_line(run.config.iterations) | numbers
    append_lines(run.folder.path / "evals.jsonl", [eval_line(0), last])
    counts = {"verdict/correct_t1": 3, "verdict/wrong_t1": 5, "verdict/correct_t2": 8,
              "verdict/wrong_t2": 0, "tokens/sampled": 40, "tokens/trained": 100}  # fmt: skip
    records = [metrics_record(i) | counts for i in range(run.config.iterations)]
    append_lines(run.folder.path / "metrics.jsonl", records)
