"""Models with random weights: their size is that of their name, and they are made once."""

import pytest

from score_ray.bench.random_models import NAMES, SHAPES, random_model
from score_ray.planning.model_shape import read_shape
from score_ray.types import ConfigError
from tests.support.published_models import published


def test_shapes_are_as_published():
    names = {"0.1B": "HuggingFaceTB/SmolLM2-135M", "0.5B": "Qwen/Qwen2.5-0.5B"}
    names |= {"1.5B": "Qwen/Qwen2.5-1.5B-Instruct", "7B": "Qwen/Qwen2.5-7B"}
    for shape, (kind, numbers) in SHAPES.items():
        config = published(names[shape])
        assert config.model_type == kind
        assert tuple(getattr(config, name) for name in NAMES) == numbers


@pytest.mark.slow
def test_a_model_is_made_once_in_bfloat16_and_loads_with_its_tokenizer(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = random_model("0.1B", tmp_path)
    assert read_shape(str(folder), "").parameters == 134_515_008  # as its card says: 135M
    assert (folder / "model.safetensors").stat().st_size // 134_515_008 == 2
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("37+48=").input_ids) == "37+48="
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.eos_token_id == tokenizer.eos_token_id

    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert random_model("0.1B", tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made


def test_an_unknown_shape_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(
        ConfigError, match=r"--shape 3B is unknown: choose one of 0.1B, 0.5B, 1.5B, 7B"
    ):
        random_model("3B", tmp_path)
