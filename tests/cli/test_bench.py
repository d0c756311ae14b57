from pathlib import Path

import pytest

from score_ray.bench.random_models import SHAPES
from score_ray.cli.bench import SIZES
from tests.support.command_line import invoke, output, refusal

RECIPE = "configs/arithmetic.yaml"


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        (["bench", RECIPE, "seeds=2"], ["bench", "iteration", RECIPE, "seeds=2"]),
        (["bench", "--gpu", "seeds=2"], ["bench", "gpu", "seeds=2"]),
    ],
)
def test_a_subcommand_that_is_not_named_is_inserted(short, whole):
    assert "seeds: unknown key" in refusal(*short)
    assert refusal(*short) == refusal(*whole)


def test_options_of_the_inserted_subcommand_are_its_own():
    assert output("bench", RECIPE, "--help") == output("bench", "iteration", "--help")
    assert "--shape" in output("bench", "--gpu", "--help")


@pytest.mark.parametrize(
    "words",
    [
        (RECIPE, "--iterations", "0"),
        ("scale", RECIPE, "--actors", "0"),
        ("scale", RECIPE, "--ranks", "-1"),
        ("gpu", "--iterations", "-2"),
    ],
)
def test_a_number_below_1_is_refused_by_its_option(words):
    result = invoke("bench", *words)
    assert result.exit_code == 2
    assert f"Invalid value for '{words[-2]}'" in result.stderr


@pytest.mark.parametrize("size", ["9B", "0.5b"])
def test_a_size_of_model_that_is_none_is_named_at_once(size):
    expected = f"--shape: '{size}' is not one of 0.1B, 0.5B, 1.5B, 7B"
    assert refusal("bench", "gpu", "--shape", size) == expected


def test_the_sizes_of_model_are_those_that_can_be_made():
    assert tuple(SHAPES) == SIZES


@pytest.mark.slow  # it imports what the bench measures with
@pytest.mark.parametrize("words", [("gpu", "--shape", "0.5B"), ("scale", RECIPE)])
def test_what_a_bench_leaves_is_in_the_folder_of_runs(words, tmp_path, monkeypatch):
    folders = []
    monkeypatch.setattr("score_ray.bench.gpu_layouts.Bench.run", lambda self, *_: self.folder)
    monkeypatch.setattr("score_ray.cli.bench._checked", lambda *_: None)
    monkeypatch.setattr("score_ray.bench.scale_out.run", lambda *args: folders.append(args[4]))
    shown = output("bench", *words, "--runs", tmp_path / "mine")
    assert str(tmp_path / "mine" / "bench") in shown
    assert folders in ([], [tmp_path / "mine" / "bench"])


def test_a_missing_config_of_the_scaling_bench_is_named(tmp_path: Path):
    message = f"{tmp_path}/none.yaml: no such config file"
    assert refusal("bench", "scale", tmp_path / "none.yaml") == message


@pytest.mark.slow  # it imports what the bench measures with
def test_an_override_may_need_what_the_size_of_model_brings(monkeypatch):
    """An adapter can be sent only where one is trained, which is so at 7B."""
    monkeypatch.setattr("score_ray.bench.gpu_layouts.Bench.run", lambda _, shapes, *rest: shapes)
    adapter = "learner.lora.broadcast=adapter"
    assert "7B" in output("bench", "--gpu", "--shape", "7B", adapter)
    assert "learner.lora.broadcast" in refusal("bench", "--gpu", "--shape", "0.5B", adapter)


@pytest.mark.parametrize(
    ("override", "option"),
    [("rollout.num_actors=2", "--actors"), ("learner.num_ranks=1", "--ranks")],
)
def test_the_numbers_of_processes_that_scale_measures_are_options_alone(override, option):
    expected = f"`bench scale` does not use it; give the numbers with {option}"
    assert refusal("bench", "scale", RECIPE, override).endswith(expected)
