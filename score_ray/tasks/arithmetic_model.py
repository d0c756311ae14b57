"""The base model of the embedded arithmetic run.

A Llama of 0.13M parameters over single characters, fitted to pairs of attempts. The first
attempt usually forgets the carry. The second is mostly a copy of the first, sometimes the right
sum, sometimes a corrupted copy. So the model is able to correct itself but rarely does, and
SCoRe can train it to do so.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from score_ray.tasks.arithmetic import Arithmetic
from score_ray.types import Problem

CHARACTERS = "0123456789+=?"
EOS, PAD = "<eos>", "<pad>"
STEPS, BATCH, LEARNING_RATE, WARMUP = 1000, 128, 3e-3, 50
FORGETS_CARRY, FIRST_RIGHT = 0.85, 0.05  # shares; the other first attempts are corrupted sums
COPIES, SECOND_RIGHT = 0.80, 0.15  # shares; the other second attempts are corrupted copies
IGNORED = -100  # the label of tokens without loss


def make_base_model(folder: Path, steps: int = STEPS, seed: int = 0) -> None:
    """Fit the base model on the training problems and save it with its tokenizer."""
    tokenizer = character_tokenizer()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the rounding, and so the model, depends on the number of threads
    torch.manual_seed(seed)
    model = LlamaForCausalLM(model_config(tokenizer))
    fit(model, tokenizer, Arithmetic().problems("train"), steps, random.Random(seed))
    torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def character_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token per character, which decodes without adding spaces."""
    vocabulary = {token: i for i, token in enumerate([*CHARACTERS, EOS, PAD])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")  # type: ignore[assignment]
    tokenizer.decoder = decoders.Fuse()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, unk_token=PAD
    )


def model_config(tokenizer: PreTrainedTokenizerFast, tied: bool = False) -> LlamaConfig:
    """Return the model's shape; 32 is the smallest head size that vLLM's CPU kernels support."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=tokenizer.get_vocab()[EOS],
        pad_token_id=tokenizer.get_vocab()[PAD],
    )


def fit(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    steps: int,
    rng: random.Random,
) -> None:
    """Fit the model to traces drawn anew in each step; warm up, then decay by cosine to 5 %."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.99)
    )
    for step in range(steps):
        decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * decay * min(1.0, (step + 1) / WARMUP)
        ids, labels = trace_batch(tokenizer, rng.choices(problems, k=BATCH), rng)
        model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def trace_batch(
    tokenizer: PreTrainedTokenizerFast, problems: list[Problem], rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a trace per problem; return right-padded token ids and labels, both [problems, tokens].

    A trace is the question and two attempts; only the tokens of attempts have labels.
    """
    index = tokenizer.get_vocab()
    ids, labels = [], []
    for problem in problems:
        first, second = draw_attempts(problem, rng)
        parts = [(problem.question, False), (first, True), ("?", False), (second, True)]
        row, row_labels = [], []
        for text, fitted in parts:
            tokens = [index[c] for c in text] + [index[EOS]] * fitted
            row += tokens
            row_labels += tokens if fitted else [IGNORED] * len(tokens)
        ids.append(torch.tensor(row))
        labels.append(torch.tensor(row_labels))
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad(ids, batch_first=True, padding_value=index[PAD]),
        pad(labels, batch_first=True, padding_value=IGNORED),
    )


def draw_attempts(problem: Problem, rng: random.Random) -> tuple[str, str]:
    """Draw the first and the second attempt of a trace."""
    a, b = map(int, problem.question.rstrip("=").split("+"))
    draw = rng.random()
    if draw < FORGETS_CARRY:
        first = without_carry(a, b)
    elif draw < FORGETS_CARRY + FIRST_RIGHT:
        first = problem.answer
    else:
        first = corrupted(problem.answer, rng)
    draw = rng.random()
    if draw < COPIES:
        return first, first
    return first, problem.answer if draw < COPIES + SECOND_RIGHT else corrupted(first, rng)


def without_carry(a: int, b: int) -> str:
    """Return the sum with every carry forgotten: 37 + 48 = 75, 77 + 48 = 15."""
    return str((a // 10 + b // 10) % 10 * 10 + (a % 10 + b % 10) % 10)


def corrupted(answer: str, rng: random.Random) -> str:
    """Return the answer with one digit replaced by another."""
    place = rng.randrange(len(answer))
    lowest = 1 if place == 0 else 0
    digit = rng.choice([d for d in range(lowest, 10) if str(d) != answer[place]])
    return answer[:place] + str(digit) + answer[place + 1 :]
