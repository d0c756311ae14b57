from pathlib import Path

import pytest

from tests.support.command_line import output, refusal

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
