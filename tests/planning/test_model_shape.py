import pytest

from score_ray.planning.model_shape import read_shape, shape_of
from score_ray.types import ConfigError
from tests.support.published_models import config_folder, published

# Counts that the models' own cards and checkpoints give.
COUNTS = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "google/gemma-2-2b": 2_614_341_888,
    "google/codegemma-7b-it": 8_537_680_896,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_config_alone_gives_the_published_number_of_weights(name):
    assert shape_of(published(name)).parameters == COUNTS[name]


def test_body_and_head_leave_the_embedding_out():
    """Llama 3.1 8B: 128,256 x 4,096 both in embedding and head; SmolLM2 ties the two."""
    large = shape_of(published("meta-llama/Llama-3.1-8B-Instruct"))
    assert large.head == 525_336_576
    assert large.body == 8_030_261_248 - 2 * 525_336_576
    small = shape_of(published("HuggingFaceTB/SmolLM2-135M"))
    assert (small.head, small.body) == (28_311_552, 134_515_008 - 28_311_552)


def test_a_heads_size_is_the_configs_own_or_its_share_of_the_width():
    assert shape_of(published("google/gemma-2-2b")).head_size == 256
    assert shape_of(published("Qwen/Qwen2.5-1.5B-Instruct")).head_size == 128


def test_normalisations_of_a_layer_are_counted():
    assert shape_of(published("google/gemma-2-2b")).norms == 4
    assert shape_of(published("Qwen/Qwen2.5-0.5B")).norms == 2


def test_adapters_take_rank_times_inputs_and_outputs():
    """SmolLM2: q and o 576 to 576, k and v 576 to 192, three layers 576 and 1,536, 30 times."""
    shape = shape_of(published("HuggingFaceTB/SmolLM2-135M"))
    each = 2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536)
    assert shape.adapter(8) == 8 * 30 * each
    assert shape.adapter(8, ("q_proj", "self_attn.v_proj")) == 8 * 30 * (1152 + 768)


def test_a_folder_needs_a_config_and_no_weights(tmp_path):
    name = "HuggingFaceTB/SmolLM2-135M"
    assert read_shape(str(config_folder(name, tmp_path)), name) == shape_of(published(name))


def test_a_folder_without_a_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"model.path: mine has no config.*model.path=FOLDER"):
        read_shape(str(tmp_path), "mine")


def test_a_model_that_is_no_decoder_is_named():
    from transformers import T5Config

    with pytest.raises(ConfigError, match="model.path: mine is not a decoder"):
        shape_of(T5Config(), "mine")
