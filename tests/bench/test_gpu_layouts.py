"""The ways to divide GPUs that are compared, the cells of a row, and a whole bench."""

import subprocess
import sys
from pathlib import Path

import pytest

from score_ray.bench import gpu_layouts
from score_ray.bench.gpu_layouts import COLUMNS, Bench, cases, row_of, run_trl
from score_ray.bench.peak_memory import PeakMemory
from score_ray.bench.recipe_cost import MeanStep, RecipeCost
from score_ray.config.loading import load
from score_ray.planning.gpus import GPUS
from score_ray.types import ConfigError, ProcessLost, RunError
from score_ray.weights.backend import choose_backend

RECIPE = Path("configs/speed.yaml")
SECONDS = {"iteration": 20.0, "rollout": 8.0, "update": 4.0, "broadcast": 1.5}
STEP = MeanStep(SECONDS, transfer=0.25, sampled_tokens=160_000.0, trained_tokens=200_000.0)
MEMORY = {"rollout actor 0": PeakMemory(9.0, 60.0), "learner rank 0": PeakMemory(4.0, 30.5),
          "learner rank 1": PeakMemory(5.0, 31.5), "driver": PeakMemory(1.0, 0.0)}  # fmt: skip
COST = RecipeCost(STEP, update_flops=0.5e15, matmul_flops=1.25e15, memory=MEMORY)


@pytest.mark.parametrize(
    ("num_gpus", "expected"),
    [
        (0, ["object_store", "object_store, ahead"]),
        (1, ["ipc, shared", "object_store, shared"]),
        (2, ["nccl", "nccl, ahead", "object_store", "ipc, shared", "object_store, shared"]),
        (7, ["nccl", "nccl, ahead", "object_store", "ipc, shared", "object_store, shared"]),
    ],
)
def test_every_case_uses_all_gpus_and_the_backend_in_its_name(num_gpus, expected):
    layouts = cases(num_gpus)
    assert [case.name for case in layouts] == expected
    for case in layouts:
        config = load(RECIPE, case.overrides)
        rollout, ranks = config.rollout, config.learner.num_ranks
        shared = rollout.share_gpus
        assert choose_backend(config.weights.backend, num_gpus > 0, shared) in case.name
        used = rollout.num_actors if shared else rollout.num_actors + ranks
        assert used == num_gpus or num_gpus == 0
        assert ("ahead" in case.name, "shared" in case.name) == (rollout.overlap == 1, shared)


@pytest.mark.parametrize("num_gpus", [0, 1, 8])
def test_with_trl_both_libraries_sample_one_attempt_on_one_gpu(num_gpus):
    ours, theirs = cases(num_gpus, trl=True)[-2:]
    assert (ours.by_trl, theirs.by_trl) == (False, True)
    config = load(RECIPE, ours.overrides)
    assert (config.rollout.attempts, config.rollout.num_actors, config.learner.num_ranks) == (
        1,
    ) * 3
    assert config.rollout.share_gpus == (num_gpus > 0)
    assert load(RECIPE, theirs.overrides).rollout.attempts == 1


def test_a_row_has_the_rate_of_each_phase_and_the_highest_memory_of_each_role():
    config = load(RECIPE, ["learner.num_ranks=2", "learner.zero_stage=2"])
    assert dict(zip(COLUMNS[2:], row_of(config, COST, GPUS["H100"]), strict=True)) == {
        "engines + ranks": "1 + 2",
        "weights, s": "0.250",
        "broadcast, s": "1.500",
        "sampled / s": "20,000",
        "trained / s": "50,000",
        "MFU": "25.3%",  # 0.25e15 of a rank's 989e12
        "of product": "40.0%",
        "GiB, engine": "60.0",
        "GiB, rank": "31.5",
        "s": "20.00",
        "episodes / s": "12.8",
    }


def test_without_a_gpu_mfu_is_empty_and_with_sampling_ahead_the_sampled_rate():
    config = load(RECIPE, cases(0)[1].overrides)
    row = dict(zip(COLUMNS[2:], row_of(config, COST, None), strict=True))
    assert (row["MFU"], row["sampled / s"]) == ("", "")


def fake_python(folder: Path, code: str) -> str:
    """Return an executable that takes a Python's arguments and runs `code`."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport sys, json\n{code}\n")
    path.chmod(0o755)
    return str(path)


def test_trl_gets_the_same_work_and_its_last_line_is_the_result(tmp_path):
    config = load(RECIPE, ["rollout.problems=4", *cases(0, trl=True)[-1].overrides])
    code = (
        "work = json.loads(sys.argv[3])\nprint('loading')\n"
        "print(json.dumps({'by': sys.argv[2], 'seconds': 2.5, 'work': work}))"
    )
    result = run_trl(config, fake_python(tmp_path, code), 3, tmp_path)
    assert result["seconds"] == 2.5
    assert Path(result["by"]).is_file()
    passed = {key: result["work"][key] for key in ("problems", "samples", "max_tokens", "kl")}
    assert passed == {"problems": 4, "samples": 8, "max_tokens": 512, "kl": 0.01}


def test_a_python_without_trl_and_a_missing_one_are_named(tmp_path):
    config = load(RECIPE)
    without_trl = fake_python(tmp_path, "raise ModuleNotFoundError(\"No module named 'trl'\")")
    with pytest.raises(ConfigError, match="--trl .*python: .*No module named 'trl'"):
        run_trl(config, without_trl, 1, tmp_path)
    with pytest.raises(ConfigError, match="--trl .*nowhere: No such file"):
        run_trl(config, str(tmp_path / "nowhere"), 1, tmp_path)


def test_a_case_that_fails_is_named_below_the_table_of_the_others(tmp_path, monkeypatch):
    def measure(self, config):
        if config.rollout.overlap:
            raise ProcessLost("rollout actor 0", "sampling", "the process died")
        return ["1 + 1", *["0.5"] * 10]

    monkeypatch.setattr(Bench, "_measure", measure)
    monkeypatch.setattr(gpu_layouts, "random_model", lambda shape, folder: folder / shape)
    monkeypatch.setattr(gpu_layouts, "gpu_ids", list)
    progress: list[str] = []
    text = Bench(RECIPE, [], tmp_path, 1).run(["0.1B"], str(tmp_path / "nowhere"), progress.append)
    rows = rows_of(text)
    assert [row["weights by"] for row in rows] == ["object_store", "object_store, one attempt"]
    begun = [f"0.1B: {case.name}" for case in cases(0, trl=True)]
    assert [line for line in progress if not line.startswith("0.1B |")] == begun
    assert [line for line in progress if line not in begun] == [
        " | ".join(r.values()) for r in rows
    ]
    assert text.splitlines()[-2] == (
        "0.1B: object_store, ahead: rollout actor 0: the process died while sampling"
    )
    assert text.splitlines()[-1].startswith("0.1B: TRL, one attempt: --trl ")


def test_a_bench_of_which_no_case_could_be_measured_fails_and_names_them_all(tmp_path, monkeypatch):
    def measure(self, config):
        raise ProcessLost("rollout actor 0", "sampling", "the process died")

    monkeypatch.setattr(Bench, "_measure", measure)
    monkeypatch.setattr(gpu_layouts, "random_model", lambda shape, folder: folder / shape)
    monkeypatch.setattr(gpu_layouts, "gpu_ids", list)
    with pytest.raises(RunError) as failed:
        Bench(RECIPE, [], tmp_path, 1).run(["0.1B", "0.5B"], "", lambda line: None)
    first, *lines = str(failed.value).splitlines()
    assert first == "no case could be measured:"
    end = "rollout actor 0: the process died while sampling"
    names = [f"{shape}: {case.name}" for shape in ("0.1B", "0.5B") for case in cases(0)]
    assert lines == [f"{name}: {end}" for name in names]


def rows_of(text: str) -> list[dict[str, str]]:
    """Return a markdown table's rows."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert cells[0] == list(COLUMNS)
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells[2:]]


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
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
