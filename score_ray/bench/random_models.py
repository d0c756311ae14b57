"""Makes models of published shapes with random weights, which cost as much as trained ones."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from score_ray.reporting.atomic_files import renamed_when_whole
from score_ray.tasks.arithmetic_model import character_tokenizer
from score_ray.types import ConfigError

# From the config.json of SmolLM2-135M and of three sizes of Qwen2.5.
SHAPES = {
    "0.1B": ("llama", (576, 1536, 30, 9, 3, 49152, True)),
    "0.5B": ("qwen2", (896, 4864, 24, 14, 2, 151936, True)),
    "1.5B": ("qwen2", (1536, 8960, 28, 12, 2, 151936, True)),
    "7B": ("qwen2", (3584, 18944, 28, 28, 4, 152064, False)),
}
NAMES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "vocab_size", "tie_word_embeddings",
)  # fmt: skip
MAX_POSITIONS = 32768


def random_model(shape: str, folder: Path) -> Path:
    """Return the folder of a bfloat16 model of that shape; make it the first time.

    Each token is a character; most tokens of the vocabulary have no text. Raises ConfigError for
    an unknown shape.
    """
    if shape not in SHAPES:
        raise ConfigError(f"--shape {shape} is unknown: choose one of {', '.join(SHAPES)}")
    model = folder / shape
    if not model.is_dir():
        with renamed_when_whole(model) as unfinished:
            _make(shape, unfinished)
    return model


def _make(shape: str, folder: Path) -> None:
    tokenizer = character_tokenizer()
    kind, numbers = SHAPES[shape]
    config = AutoConfig.for_model(
        kind,
        **dict(zip(NAMES, numbers, strict=True)),
        max_position_embeddings=MAX_POSITIONS,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
