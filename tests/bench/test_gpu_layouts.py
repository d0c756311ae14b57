"""The comparison of ways to divide GPUs: which there are, what a row says, and a whole one."""

import subprocess
import sys
from pathlib import Path

import pytest

from score_ray.bench import gpu_layouts
from score_ray.bench.gpu_layouts import COLUMNS, Bench, cases, row_of, run_trl
from score_ray.bench.recipe_cost import RecipeCost
from score_ray.config.config import ConfigError, load
from score_ray.planning.gpus import GPUS
from score_ray.runtime.actors import PeakMemory
from score_ray.types import ProcessLost
from score_ray.weights.backend import choose_backend

RECIPE = Path("configs/speed.yaml")
MEANS = {
    "time/iteration": 20.0, "time/rollout": 8.0, "time/update": 4.0, "time/broadcast": 1.5,
    "time/weights": 0.25, "tokens/sampled": 160_000.0, "tokens/trained": 200_000.0,
}  # fmt: skip
MEMORY = {"rollout actor 0": PeakMemory(9.0, 60.0), "learner rank 0": PeakMemory(4.0, 30.5),
          "learner rank 1": PeakMemory(5.0, 31.5), "driver": PeakMemory(1.0, 0.0)}  # fmt: skip
SEEN = RecipeCost(MEANS, flops=0.5e15, product=1.25e15, memory=MEMORY)


@pytest.mark.parametrize(
    ("num_gpus", "expected"),
    [
        (0, ["object_store", "object_store, ahead"]),
        (1, ["ipc, shared", "object_store, shared"]),
        (2, ["nccl", "nccl, ahead", "object_store", "ipc, shared", "object_store, shared"]),
        (7, ["nccl", "nccl, ahead", "object_store", "ipc, shared", "object_store, shared"]),
    ],
)
def test_every_case_uses_all_gpus_and_the_way_that_it_is_named_after(num_gpus, expected):
    found = cases(num_gpus)
    assert [case.name for case in found] == expected
    for case in found:
        config = load(RECIPE, case.settings)
        rollout, ranks = config.rollout, config.learner.num_ranks
        shared = rollout.share_gpus
        assert choose_backend(config.weights.backend, num_gpus > 0, shared) in case.name
        used = rollout.num_actors if shared else rollout.num_actors + ranks
        assert used == num_gpus or num_gpus == 0
        assert ("ahead" in case.name, "shared" in case.name) == (rollout.overlap == 1, shared)


@pytest.mark.parametrize("num_gpus", [0, 1, 8])
def test_with_trl_one_gpu_draws_one_attempt_by_both(num_gpus):
    ours, theirs = cases(num_gpus, trl=True)[-2:]
    assert (ours.by_trl, theirs.by_trl) == (False, True)
    config = load(RECIPE, ours.settings)
    assert (config.rollout.attempts, config.rollout.num_actors, config.learner.num_ranks) == (
        1,
    ) * 3
    assert config.rollout.share_gpus == (num_gpus > 0)
    assert load(RECIPE, theirs.settings).rollout.attempts == 1


def test_a_row_has_rates_of_its_own_phase_and_the_most_that_a_role_held():
    config = load(RECIPE, ["learner.num_ranks=2", "learner.zero_stage=2"])
    assert dict(zip(COLUMNS[2:], row_of(config, SEEN, GPUS["H100"]), strict=True)) == {
        "engines + ranks": "1 + 2",
        "weights, s": "0.250",
        "broadcast, s": "1.500",
        "drawn / s": "20,000",
        "trained / s": "50,000",
        "MFU": "25.3%",  # 0.25e15 of a rank's 989e12
        "of product": "40.0%",
        "GiB, engine": "60.0",
        "GiB, rank": "31.5",
        "s": "20.00",
        "episodes / s": "12.8",
    }


def test_without_a_gpu_there_is_no_mfu_and_sampled_ahead_no_rate_of_drawing():
    config = load(RECIPE, cases(0)[1].settings)
    row = dict(zip(COLUMNS[2:], row_of(config, SEEN, None), strict=True))
    assert (row["MFU"], row["drawn / s"]) == ("", "")


def python_that(folder: Path, does: str) -> str:
    """An executable that takes what a Python takes, and does something else."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport sys, json\n{does}\n")
    path.chmod(0o755)
    return str(path)


def test_trl_is_given_the_same_work_and_its_last_line_is_read(tmp_path):
    config = load(RECIPE, ["rollout.problems=4", *cases(0, trl=True)[-1].settings])
    does = (
        "work = json.loads(sys.argv[3])\nprint('loading')\n"
        "print(json.dumps({'by': sys.argv[2], 'seconds': 2.5, 'work': work}))"
    )
    found = run_trl(config, python_that(tmp_path, does), 3, tmp_path)
    assert found["seconds"] == 2.5
    assert Path(found["by"]).is_file()
    asked = {key: found["work"][key] for key in ("problems", "samples", "max_tokens", "kl")}
    assert asked == {"problems": 4, "samples": 8, "max_tokens": 512, "kl": 0.01}


def test_a_python_without_trl_and_one_that_is_not_there_are_named(tmp_path):
    config = load(RECIPE)
    lacks = python_that(tmp_path, "raise ModuleNotFoundError(\"No module named 'trl'\")")
    with pytest.raises(ConfigError, match="--trl .*python: .*No module named 'trl'"):
        run_trl(config, lacks, 1, tmp_path)
    with pytest.raises(ConfigError, match="--trl .*nowhere: No such file"):
        run_trl(config, str(tmp_path / "nowhere"), 1, tmp_path)


def test_a_case_that_cannot_be_measured_is_named_below_those_that_were(tmp_path, monkeypatch):
    def ours(self, config):
        if config.rollout.overlap:
            raise ProcessLost("rollout actor 0", "sampling", "the process died")
        return ["1 + 1", *["0.5"] * 10]

    monkeypatch.setattr(Bench, "_ours", ours)
    monkeypatch.setattr(gpu_layouts, "random_model", lambda shape, folder: folder / shape)
    monkeypatch.setattr(gpu_layouts, "gpu_ids", list)
    told: list[str] = []
    text = Bench(RECIPE, [], tmp_path, 1).run(["0.1B"], str(tmp_path / "nowhere"), told.append)
    rows = rows_of(text)
    assert [row["weights by"] for row in rows] == ["object_store", "object_store, one attempt"]
    begun = [f"0.1B: {case.name}" for case in cases(0, trl=True)]
    assert [line for line in told if not line.startswith("0.1B |")] == begun
    assert [line for line in told if line not in begun] == [" | ".join(r.values()) for r in rows]
    assert text.splitlines()[-2] == (
        "0.1B: object_store, ahead: rollout actor 0: the process died while sampling"
    )
    assert text.splitlines()[-1].startswith("0.1B: TRL, one attempt: --trl ")


def rows_of(text: str) -> list[dict[str, str]]:
    """A markdown table's rows."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert cells[0] == list(COLUMNS)
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells[2:]]


@pytest.mark.ray
def test_the_whole_bench_runs_in_bfloat16_without_a_gpu(tmp_path):
    few = ["rollout.problems=2", "rollout.samples=2", "rollout.max_tokens=8"]
    small = ["model.max_length=160", "learner.tokens_per_micro_batch=320"]
    command = [sys.executable, str(Path("launch.py").absolute()), "bench", "--gpu"]
    options = ["--shape", "0.1B", "--iterations", "1", "rollout.kv_cache_gb=0.25"]
    done = subprocess.run(
        [*command, *options, *few, *small],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    assert [row["weights by"] for row in rows] == ["object_store", "object_store, ahead"]
    for row in rows:
        assert 0 < float(row["weights, s"]) < float(row["broadcast, s"]) < float(row["s"])
        assert 0 < float(row["of product"].rstrip("%")) < 100
