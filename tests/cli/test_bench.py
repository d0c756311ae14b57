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
