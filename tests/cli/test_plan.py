"""`score-ray plan`, and that the recipes' headers say what it computes."""

import re
import shlex
from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.planning import fit, gpus, memory
from score_ray.planning.expected_time import expect, mean_tokens
from score_ray.planning.model_shape import shape_of
from score_ray.runtime.resources import training_requests
from score_ray.types import ConfigError
from tests.support.command_line import invoke, output, refusal
from tests.support.published_models import config_folder, published

RECIPES = [Path(f"configs/{n}.yaml") for n in ("math_qwen2.5-1.5b", "math_paper", "mbpp_paper")]
QWEN = "Qwen/Qwen2.5-1.5B-Instruct"


@pytest.fixture
def command(tmp_path) -> list[str]:
    """`plan` of the first recipe, with the model's config in a folder."""
    return ["plan", str(RECIPES[0]), f"model.path={config_folder(QWEN, tmp_path)}"]


def test_the_table_has_every_item_of_both_sides_and_the_time(command):
    shown = output(*command, "--gpu", "H100", "--gpus", "8")
    rows = {c[0].strip(): [x.strip() for x in c[1:]] for c in _cells(shown)}
    assert rows["weights"] == ["2.9", "2.9"]
    assert rows["masters, Adam"] == ["4.3", ""]  # 12 bytes of 1.54 billion weights, by 4 ranks
    assert rows["free"][1] == "11.9"  # 0.15 of 79 GiB
    assert "1.54 billion weights, bfloat16, on 8 x H100 (79.0 GiB)" in shown
    assert "computed, not measured: " in shown
    assert "exp[a]: " in output(*command, "--gpu", "H100", "name=exp[a]")
    assert re.search(r"300 iterations: [\d.]+ hours", shown)


def test_too_small_a_gpu_exits_with_what_is_short_after_the_table(command):
    one = ("rollout.share_gpus=true", "rollout.num_actors=1", "learner.num_ranks=1")
    found = invoke(*command, *one, "--gpu", "A100")
    assert found.exit_code == 1
    assert "masters, Adam" in found.stdout
    assert isinstance(found.exception, ConfigError)
    assert "7.8 GiB short" in str(found.exception)


def test_too_few_gpus_are_named(command):
    assert refusal(*command, "--gpu", "H100", "--gpus", "7") == (
        "the run needs GPUs: 4 for 4 rollout actors and 4 for 4 learner ranks; the cluster has 7, "
        "by node [7]"
    )
    assert output(*command, "--gpu", "H100", "--gpus", "12", "rollout.num_actors=8")


@pytest.mark.parametrize("option", ["--gpus", "--prompt", "--attempt"])
def test_a_negative_number_is_refused_by_its_option(option, command):
    result = invoke(*command, "--gpu", "H100", option, "-3")
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


def test_sides_that_share_gpus_need_as_many_as_one():
    both = load(RECIPES[0], ["rollout.share_gpus=true"])
    assert [request.gpus for request in training_requests(both)] == [4]
    assert [request.gpus for request in training_requests(load(RECIPES[0]))] == [4, 4]


def test_without_a_gpu_here_one_must_be_named(command, monkeypatch):
    monkeypatch.setattr(gpus, "local", lambda: None)
    assert "--gpu: this machine has none; name one of" in refusal(*command)


def test_a_gpu_of_this_machine_is_planned_for(command, monkeypatch):
    monkeypatch.setattr(gpus, "local", lambda: gpus.like("NVIDIA H200", 150 * 10**9))
    assert "on 8 x NVIDIA H200 (139.7 GiB)" in output(*command)


def test_a_model_that_cannot_be_loaded_is_named_with_advice(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refusal("plan", RECIPES[0], "--gpu", "H100")
    assert f"model.path: {QWEN} has no config that loads" in message
    assert "model.path=FOLDER takes a folder that holds the model's config.json" in message


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_the_three_sizes_of_a_recipe_fit_and_need_what_its_header_says(path):
    header = re.sub(r" \\\n#\s+", " ", path.read_text())
    sizes = re.findall(
        r"score-ray train (\S+)(.*)\n#   computed for (\d+) x (\S+): ([\d.]+) GiB a learner rank, "
        r"([\d.]+) an engine;\n#   (\d+) s an iteration, ([\d.]+) hours",
        header,
    )
    assert [int(size[2]) for size in sizes] == [1, 8, 64]
    prompt, attempt = map(int, re.findall(r"--(?:prompt|attempt) (\d+)", header))
    for name, overrides, count, kind, *said in sizes:
        own, gpu = load(Path(name), shlex.split(overrides)), gpus.named(kind)
        shape = shape_of(published(own.model.path))
        found = memory.plan_memory(own, shape, gpu)
        time = expect(own, shape, gpu, found, mean_tokens(own, prompt, attempt)).iteration
        assert Path(name) == path
        assert sum(request.gpus for request in training_requests(own)) == int(count)
        assert fit.shortages(own, shape, gpu) == []
        assert f"| {' | '.join(said)} |" in Path("docs/gpu.md").read_text()
        assert said == [
            f"{found.learner.total / memory.GIB:.1f}",
            f"{found.share / memory.GIB:.1f}",
            f"{time:.0f}",
            f"{time * own.iterations / 3600:.1f}",
        ]


def _cells(text: str) -> list[list[str]]:
    return [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
