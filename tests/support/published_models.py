"""Configs of published models, without their weights: enough for what the planner computes."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig

NAMES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "vocab_size", "tie_word_embeddings",
)  # fmt: skip
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": ("qwen2", (896, 4864, 24, 14, 2, 151936, True), {}),
    "Qwen/Qwen2.5-1.5B-Instruct": ("qwen2", (1536, 8960, 28, 12, 2, 151936, True), {}),
    "Qwen/Qwen2.5-7B": ("qwen2", (3584, 18944, 28, 28, 4, 152064, False), {}),
    "google/gemma-2-2b": ("gemma2", (2304, 9216, 26, 8, 4, 256000, True), {"head_dim": 256}),
    "google/codegemma-7b-it": ("gemma", (3072, 24576, 28, 16, 16, 256000, True), {"head_dim": 256}),
    "HuggingFaceTB/SmolLM2-135M": ("llama", (576, 1536, 30, 9, 3, 49152, True), {}),
    "meta-llama/Llama-3.2-1B": ("llama", (2048, 8192, 16, 32, 8, 128256, True), {"head_dim": 64}),
    "meta-llama/Llama-3.1-8B-Instruct": ("llama", (4096, 14336, 32, 32, 8, 128256, False), {}),
}


def published(name: str) -> Any:
    """Return a Hugging Face config with the sizes of a model."""
    kind, numbers, more = PUBLISHED[name]
    return AutoConfig.for_model(kind, **dict(zip(NAMES, numbers, strict=True)), **more)


def config_folder(name: str, folder: Path) -> Path:
    """Write the model's config.json into a folder, and nothing else; return the folder."""
    published(name).save_pretrained(folder)
    return folder
