"""Which attention kernels the learner runs on: chosen by name, or by what a rank has."""

import importlib.util

from score_ray.types import ConfigError

FLASH = "flash_attention_2"


def flash_is_installed() -> bool:
    """Whether the package flash_attn can be imported here."""
    return importlib.util.find_spec("flash_attn") is not None


def check_attention(wanted: str, dtype: str, installed: bool) -> None:
    """Raise ConfigError where flash_attention_2 is asked for and cannot run."""
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


def choose_attention(wanted: str, dtype: str, installed: bool, on_gpu: bool) -> str:
    """The name that transformers knows; `auto` is flash_attention_2 where that runs, else sdpa.

    Raises ConfigError where flash_attention_2 is asked for by name and cannot run.
    """
    check_attention(wanted, dtype, installed)
    if wanted == FLASH and not on_gpu:
        raise ConfigError(f"model.attention: {FLASH} needs a GPU; choose auto or sdpa")
    if wanted != "auto":
        return wanted
    return FLASH if installed and on_gpu and dtype == "bfloat16" else "sdpa"
