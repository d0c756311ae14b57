"""The real thing, small: Ray, vLLM and DeepSpeed through the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas
import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM

from score_ray.reporting.json_lines import read_jsonl
from tests.support.command_line import output
from tests.support.shared_ray import without_shared_ray
from tests.support.tiny_model import make_model

pytestmark = pytest.mark.ray
STAGES = (
    "stages=[{name: stage_1, iterations: 2, reward: [0, 1], kl: [0.2, 0.3]},"
    " {name: stage_2, iterations: 2, reward: [1, 1], bonus: 10, kl: [0.3, 0.3]}]"
)
SMALL = [STAGES, "rollout.problems=8", "evaluation.problems=16", "checkpoint.every=1"]
TIMES = ("time/",)
# As patterns, these names would match other folders, or none.
RUN = "exp[1] a*b?"
RUNS = "runs {of} #2 @ü"
MODELS = "models[1]"


@pytest.fixture(scope="module", params=["untied", "tied"])
def model(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(MODELS) / request.param
    return make_model(folder, request.param == "tied")


@pytest.fixture(scope="module")
def score_ray(model, request) -> Callable[..., object]:
    """Run a command: as a program that starts its own Ray, or in this process on the shared Ray.

    The untied model goes the one way and the tied model the other, which takes less time.
    """
    if model.name == "untied":
        return program
    request.getfixturevalue("shared_ray")
    return output


def program(*words: str) -> None:
    """Run a command as a program with its own Ray; raise CalledProcessError if it fails."""
    command = [sys.executable, "launch.py", *words]
    subprocess.run(command, env=without_shared_ray(), check=True, timeout=500)


def training(runs: Path, model: Path, *more: str) -> list[str]:
    """Return the command that trains for four iterations, a checkpoint after each."""
    return ["train", "configs/arithmetic.yaml", *SMALL, f"name={RUN}", f"model.path={model}",
            *more, "--runs", str(runs)]  # fmt: skip


def metrics(runs: Path) -> list[dict]:
    path = runs / RUN / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def without_times(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in r.items() if not k.startswith(TIMES)} for r in records]


@pytest.fixture(scope="module")
def whole(model, score_ray, tmp_path_factory) -> Path:
    """A run from start to end."""
    runs = tmp_path_factory.mktemp(RUNS)
    score_ray(*training(runs, model))
    return runs


def cut_off(
    words: list[str], when: Callable[[], bool], how: signal.Signals
) -> list[psutil.Process]:
    """Start a run with its own Ray, end it early, and check that nothing of it stays.

    Return all processes that it had.
    """
    # A test run in the background of a shell ignores SIGINT, and would hand that down.
    process = subprocess.Popen(
        [sys.executable, "launch.py", *words],
        env=without_shared_ray(),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not when() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGSTOP)  # the run would go on while its processes are looked at
    family = psutil.Process(process.pid).children(recursive=True)
    shared = shared_memory(family)
    began = time.monotonic()
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does it
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 130
        assert time.monotonic() - began < 10
    else:
        os.kill(process.pid, how)
        process.wait()
    psutil.wait_procs(family, timeout=20)
    # Two small agents of Ray's own outlive a driver that was killed; nothing of ours does.
    spared = "Agent" if how is signal.SIGKILL else "nothing"
    assert not [p for p in family if lives(p) and not p.name().endswith(spared)]
    assert not [path for path in shared if path.exists()]
    return family


def shared_memory(family: list[psutil.Process]) -> set[Path]:
    """Return the files of /dev/shm that these processes have mapped or opened."""
    paths: set[str] = set()
    for process in family:
        with suppress(psutil.Error):
            paths |= {one.path for one in process.memory_maps()}
            paths |= {one.path for one in process.open_files()}
    return {Path(path) for path in paths if path.startswith("/dev/shm/")}


def lives(process: psutil.Process) -> bool:
    """Whether it runs still; one that nobody has reaped yet does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_run_keeps_weights_equal_and_leaves_its_folder(model, whole):
    lines = metrics(whole)
    assert [r["iteration"] for r in lines] == [0, 1, 2, 3]
    assert all(r["mismatch/logp_mean_abs"] < 1e-3 for r in lines)
    assert all(r["mismatch/sampled_mean_abs"] < 1e-3 for r in lines)
    folder = whole / RUN
    names = {p.name for p in folder.iterdir()}
    assert names >= {"config.yaml", "metrics.jsonl", "evals.jsonl", "generations.jsonl",
                     "generations.txt", "accuracies.txt", "report.html", "accuracy.png",
                     "checkpoints", "model"}  # fmt: skip
    evals = [json.loads(x) for x in (folder / "evals.jsonl").read_text().splitlines()]
    assert [e["iteration"] for e in evals] == [0, 2, 4]
    trained = AutoModelForCausalLM.from_pretrained(folder / "model").state_dict()
    base = AutoModelForCausalLM.from_pretrained(model).state_dict()
    assert trained.keys() == base.keys()
    assert any(not torch.equal(trained[k], base[k]) for k in base)


def checkpoints(runs: Path) -> list[Path]:
    return sorted((runs / RUN / "checkpoints").glob("iteration_*"))


def flip_a_bit(folder: Path) -> None:
    """In the middle of its largest file."""
    file = max(folder.rglob("*.pt"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_run_that_is_killed_or_interrupted_leaves_nothing_and_resumes_exactly(
    model, whole, score_ray, tmp_path
):
    """A killed run loses its newest checkpoint too, and goes on from the one before."""
    how = signal.SIGINT if model.name == "tied" else signal.SIGKILL
    cut = tmp_path / RUNS
    # An iteration's metrics come before its checkpoint, and the one before has to be there too.
    family = cut_off(training(cut, model), lambda: len(checkpoints(cut)) >= 2, how)
    assert 2 <= len(metrics(cut)) < 4
    if how is signal.SIGKILL:
        damaged = checkpoints(cut)[-1]
        flip_a_bit(damaged)
    score_ray(*training(cut, model))
    # The next start has ended those agents of Ray's that outlived the killed driver.
    assert not [process for process in family if lives(process)]
    if how is signal.SIGKILL:
        (event,) = read_jsonl(cut / RUN / "events.jsonl")
        assert f"{damaged} is damaged" in event["what"]
    assert without_times(metrics(cut)) == without_times(metrics(whole))


def rows_of_sums() -> dict[str, list[str]]:
    pairs = [(a, b) for a in range(10, 20) for b in range(10, 13)]
    return {"q": [f"{a}+{b}=" for a, b in pairs], "a": [str(a + b) for a, b in pairs]}


def on_file(name: str) -> str:
    source = f"train: {name}, test: {name}"
    return f"task={{name: math, {source}, question_column: q, answer_column: a}}"


def verdicts(record: dict, attempt: int) -> int:
    return sum(v for k, v in record.items() if re.fullmatch(rf"verdict/.*_t{attempt}", k))


@pytest.mark.usefixtures("shared_ray")
def test_a_csv_file_is_trained_on_with_a_reward_of_your_own(tmp_path, monkeypatch):
    words = training(tmp_path, make_model(tmp_path / "model", False), on_file("sums.csv"),
                     "grading.reward=half:reward")  # fmt: skip
    words[1] = str(Path(words[1]).resolve())
    launch = str(Path("launch.py").resolve())
    monkeypatch.chdir(tmp_path)
    pandas.DataFrame(rows_of_sums()).to_csv("sums.csv", index=False)
    Path("half.py").write_text("def reward(problem, text):\n    return 0.5 if text else 1\n")
    subprocess.run([sys.executable, launch, *words], check=True, timeout=500)
    for record in metrics(tmp_path):
        assert verdicts(record, 1) == verdicts(record, 2) == 32
        empty = record["train/acc_t1"]
        assert record["train/reward_t1"] == pytest.approx(0.5 + empty / 2)


@pytest.mark.usefixtures("shared_ray")
def test_a_parquet_file_is_trained_on_with_three_attempts_offline_ones_and_a_judge(tmp_path):
    pandas.DataFrame(rows_of_sums()).to_parquet(tmp_path / "sums.parquet")
    rows = (
        "stages=[{name: one, iterations: 2, reward: [0, 1, 1], bonus: 1, kl: [0.2, 0.3, 0.3]}]",
        "rollout.attempts=3", "rollout.offline_share=0.5", "evaluation.attempts=4",
        "grading.judge=true", "prompts.judge={question}{answer}?{attempt}?",
        "prompts.judge_yes=1", "prompts.judge_no=0",
    )  # fmt: skip
    model = make_model(tmp_path / "model", False)
    source = on_file(str(tmp_path / "sums.parquet"))
    output(*training(tmp_path, model, source, *rows))
    lines = metrics(tmp_path)
    assert len(lines) == 2
    for record in lines:
        assert [verdicts(record, attempt) for attempt in (1, 2, 3)] == [32] * 3
        assert "verdict/grader_error_t1" not in record
        assert record["mismatch/sampled_mean_abs"] < 1e-3
        assert {"train/acc_t3", "kl/t3"} <= record.keys()
    folder = tmp_path / RUN
    evals = [json.loads(x) for x in (folder / "evals.jsonl").read_text().splitlines()]
    assert all("acc_t4" in e for e in evals)
    assert len((folder / "first_attempts.jsonl").read_text().splitlines()) == 8


def test_a_trained_model_is_evaluated_again_to_the_same_accuracies(whole, score_ray):
    folder = whole / RUN
    score_ray("eval", str(folder))
    last = [json.loads(x) for x in (folder / "evals.jsonl").read_text().splitlines()][-1]
    again = json.loads((folder / "eval" / "evals.jsonl").read_text())
    assert {k: again[k] for k in ("n", "acc_t1", "acc_t2", "changed")} == {
        k: last[k] for k in ("n", "acc_t1", "acc_t2", "changed")
    }


def test_a_checkpoint_is_exported_as_the_model_it_was(whole, score_ray, tmp_path):
    out = str(tmp_path / "out [1]")
    score_ray("export", str(whole / RUN), out)
    exported = AutoModelForCausalLM.from_pretrained(out).state_dict()
    trained = AutoModelForCausalLM.from_pretrained(whole / RUN / "model").state_dict()
    assert all(torch.equal(exported[k], trained[k]) for k in trained)
