import pytest

from score_ray.learner.attention import caps_scores, check_attention, choose_attention
from score_ray.types import ConfigError
from tests.support.published_models import published

FLASH = "flash_attention_2"
TABLE = [  # wanted, dtype, flash_attn is installed, there is a GPU, chosen
    ("auto", "bfloat16", True, True, FLASH),
    ("auto", "bfloat16", True, False, "sdpa"),
    ("auto", "bfloat16", False, True, "sdpa"),
    ("auto", "float32", True, True, "sdpa"),
    ("auto", "float32", False, False, "sdpa"),
    ("sdpa", "bfloat16", True, True, "sdpa"),
    ("eager", "bfloat16", True, True, "eager"),
    (FLASH, "bfloat16", True, True, FLASH),
]
IMPOSSIBLE = [
    (FLASH, "bfloat16", False, True, "flash_attn, which is not installed"),
    (FLASH, "float32", True, True, "model.dtype to bfloat16"),
    (FLASH, "bfloat16", True, False, "needs a GPU"),
]


@pytest.mark.parametrize(("wanted", "dtype", "installed", "on_gpu", "chosen"), TABLE)
def test_flash_attention_is_chosen_if_it_can_run(wanted, dtype, installed, on_gpu, chosen):
    assert choose_attention(wanted, dtype, installed, on_gpu) == chosen


@pytest.mark.parametrize(("wanted", "dtype", "installed", "on_gpu", "said"), IMPOSSIBLE)
def test_kernels_that_cannot_run_are_refused(wanted, dtype, installed, on_gpu, said):
    with pytest.raises(ConfigError, match=f"model.attention: .*{said}"):
        choose_attention(wanted, dtype, installed, on_gpu)


def test_kernels_can_be_checked_on_a_machine_without_a_gpu():
    check_attention(FLASH, "bfloat16", installed=True, capped=False)
    with pytest.raises(ConfigError, match="flash_attn"):
        check_attention(FLASH, "bfloat16", installed=False, capped=False)


@pytest.mark.parametrize(("installed", "chosen"), [(True, FLASH), (False, "eager")])
def test_a_model_that_caps_its_scores_never_gets_sdpa(installed, chosen):
    assert choose_attention("auto", "bfloat16", installed, on_gpu=True, capped=True) == chosen
    with pytest.raises(ConfigError, match="sdpa leaves out this model's attn_logit_softcapping"):
        check_attention("sdpa", "bfloat16", installed, capped=True)


def test_gemma_2_caps_its_scores_and_llama_does_not():
    assert caps_scores(published("google/gemma-2-2b"))
    assert not caps_scores(published("meta-llama/Llama-3.2-1B"))
