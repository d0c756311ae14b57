"""Which attention kernels the learner runs on: chosen by name, or by what a rank has."""

import importlib.util
from typing import Any

from score_ray.types import ConfigError

FLASH = "flash_attention_2"


def flash_is_installed() -> bool:
    """Whether the package flash_attn can be imported here."""
    return importlib.util.find_spec("flash_attn") is not None


def caps_scores(model: Any) -> bool:
    """Whether a Hugging Face config bounds the attention scores, which sdpa leaves out."""
    return bool(getattr(model.get_text_config(), "attn_logit_softcapping", None))


def check_attention(wanted: str, dtype: str, installed: bool, capped: bool) -> None:
    """Raise ConfigError where what is asked for cannot run, or leaves out what a model does."""
    if wanted == "sdpa" and capped:
        raise ConfigError(
            "model.attention: sdpa leaves out this model's attn_logit_softcapping; choose auto "
            f"or eager, or {FLASH} where it is installed"
        )
    if wanted == FLASH and not installed:
        raise ConfigError(
            f"model.attention: {FLASH} needs the package flash_attn, which is not installed; "
            "install it, or choose auto or sdpa"
        )
    if wanted == FLASH and dtype != "bfloat16":
        raise ConfigError(
            f"model.attention: {FLASH} computes in 16 bits only; set model.dtype to bfloat16, "
            f"or choose auto or sdpa ({dtype} is set)"
        )


def choose_attention(
    wanted: str, dtype: str, installed: bool, on_gpu: bool, capped: bool = False
) -> str:
    """The name that transformers knows; `auto` is flash_attention_2 where that runs, else sdpa.

    Where the model's scores are `capped` it is eager in place of sdpa. Raises ConfigError where
    what is asked for by name cannot run.
    """
    check_attention(wanted, dtype, installed, capped)
    if wanted == FLASH and not on_gpu:
        raise ConfigError(f"model.attention: {FLASH} needs a GPU; choose auto or sdpa")
    if wanted != "auto":
        return wanted
    if installed and on_gpu and dtype == "bfloat16":
        return FLASH
    return "eager" if capped else "sdpa"
