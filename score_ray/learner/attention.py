"""Chooses the learner's attention kernels, by name or by what can run."""

import importlib.util
from typing import Any

from score_ray.types import ConfigError

FLASH = "flash_attention_2"


def flash_is_installed() -> bool:
    """Return whether the package flash_attn can be imported here."""
    return importlib.util.find_spec("flash_attn") is not None


def caps_scores(model: Any) -> bool:
    """Return whether a Hugging Face config caps attention scores, which sdpa cannot do."""
    return bool(getattr(model.get_text_config(), "attn_logit_softcapping", None))


def check_attention(wanted: str, dtype: str, installed: bool, capped: bool) -> None:
    """Raise ConfigError if the kernels cannot run, or compute something else than the model."""
    if wanted == "sdpa" and capped:
        raise ConfigError(
            "model.attention: sdpa leaves out this model's attn_logit_softcapping; choose auto "
            f"or eager, or {FLASH} if it is installed"
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
    """Return the kernels' name in transformers.

    `auto` is flash_attention_2 if it can run. Otherwise it is sdpa, or eager if the model's
    scores are `capped`. Raises ConfigError as `check_attention`, or if flash_attention_2 is
    asked for and there is no GPU.
    """
    check_attention(wanted, dtype, installed, capped)
    if wanted == FLASH and not on_gpu:
        raise ConfigError(f"model.attention: {FLASH} needs a GPU; choose auto or sdpa")
    if wanted != "auto":
        return wanted
    if installed and on_gpu and dtype == "bfloat16":
        return FLASH
    return "eager" if capped else "sdpa"
