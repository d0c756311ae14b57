"""Whole runs, small and real, with the options that a GPU recipe sets."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from score_ray.reporting.json_lines import read_jsonl
from tests.support.command_line import output
from tests.support.tiny_model import make_model

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]
STAGES = (
    "stages=[{name: stage_1, iterations: 2, reward: [0, 1], kl: [0.2, 0.3]},"
    " {name: stage_2, iterations: 2, reward: [1, 1], bonus: 10, kl: [0.3, 0.3]}]"
)
SMALL = [STAGES, "rollout.problems=8", "evaluation.problems=16", "checkpoint.every=10"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tied", True)


def train(model: Path, runs: Path, *more: str) -> list[dict]:
    words = ["train", "configs/arithmetic.yaml", *SMALL, f"model.path={model}", *more]
    output(*words, "--runs", str(runs))
    return read_jsonl(runs / "arithmetic" / "metrics.jsonl")


def test_two_actors_sample_ahead_and_the_learner_corrects_for_it(model, tmp_path):
    records = train(
        model, tmp_path, "rollout.overlap=1", "learner.max_importance=2", "rollout.num_actors=2"
    )
    assert [r["stale"] for r in records] == [0, 1, 0, 1]
    fresh, stale = records[0]["mismatch/kl"], records[3]["mismatch/kl"]
    assert fresh < 1e-8 < stale < 1e-2
    assert all(r["mismatch/truncated"] == 0 and r["weights/checked"] == 2 for r in records)


def test_an_adapter_is_trained_and_sent_alone(model, tmp_path):
    options = ["learner.lora.rank=4", "learner.lora.broadcast=adapter", "learner.packing=true"]
    options += ["learner.gradient_checkpointing=true", "learner.logits_mb=0.01"]
    records = train(model, tmp_path, *options)
    assert all(r["mismatch/logp_mean_abs"] < 1e-4 for r in records)
    left = tmp_path / "arithmetic" / "model"
    assert (left / "adapter" / "adapter_config.json").is_file()
    before, after = (AutoModelForCausalLM.from_pretrained(p).state_dict() for p in (model, left))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "model.layers.0.self_attn.q_proj.weight" in changed
    assert all("proj" in name for name in changed)


def test_bfloat16_is_trained_with_its_optimizer_on_the_cpu(model, tmp_path):
    options = ["model.dtype=bfloat16", "weights.max_mismatch=0.1", "learner.zero_stage=2"]
    records = train(model, tmp_path, *options, "learner.offload_optimizer=true")
    assert len(records) == 4
    assert 1e-5 < records[-1]["mismatch/sampled_mean_abs"] < 0.1
    (name, weight), *_ = AutoModelForCausalLM.from_pretrained(
        tmp_path / "arithmetic" / "model", dtype="auto"
    ).named_parameters()
    assert weight.dtype == torch.bfloat16, name
