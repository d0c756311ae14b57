"""Loads a rank's models, and wraps them in DeepSpeed engines."""

import os
from typing import Any

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed reads it when it is imported

import deepspeed
from deepspeed.runtime.zero.offload_config import OffloadStateTypeEnum
from transformers import AutoConfig, AutoModelForCausalLM

from score_ray.learner.attention import caps_scores, choose_attention, flash_is_installed
from score_ray.learner.model_files import refuse_missing
from score_ray.learner.optimizer import adamw, deepspeed_config
from score_ray.learner.setup import LearnerSetup
from score_ray.learner.token_logprobs import TokenScorer

GRADIENT_BUFFER = OffloadStateTypeEnum.contiguous_grad_buffer  # ZeRO-3 uses it in updates alone


def load_scorer(setup: LearnerSetup, num_ranks: int) -> TokenScorer:
    """Return the model of the setup's folder, on the CPU, as a scorer of tokens.

    Raises ConfigError if a weight is missing, which transformers would make up.
    """
    dtype, learner = setup.model.dtype, setup.learner
    kernels = choose_attention(
        setup.model.attention,
        dtype,
        flash_is_installed(),
        torch.cuda.is_available(),
        caps_scores(AutoConfig.from_pretrained(setup.model_folder)),
    )
    load: Any = AutoModelForCausalLM.from_pretrained
    model, found = load(
        setup.model_folder,
        dtype=getattr(torch, dtype),
        attn_implementation=kernels,
        output_loading_info=True,
    )
    refuse_missing(sorted(found["missing_keys"]), f"model.path: {setup.model_folder}")
    lockstep = learner.zero_stage == 3 and num_ranks > 1
    return TokenScorer(model, int(learner.logits_mb * 2**20), learner.packing, lockstep)


def train_engine(scorer: TokenScorer, setup: LearnerSetup) -> Any:
    """Return a DeepSpeed engine that trains the scorer's parameters that are not frozen."""
    if setup.learner.gradient_checkpointing:
        scorer.model.gradient_checkpointing_enable({"use_reentrant": False})
    trainable = [p for p in scorer.parameters() if p.requires_grad]
    optimizer = adamw(setup.learner, trainable)
    config = deepspeed_config(setup)
    return deepspeed.initialize(model=scorer, optimizer=optimizer, config=config)[0]


def freeze(scorer: TokenScorer, setup: LearnerSetup, device: torch.device) -> Any:
    """Return the scorer on the device, without gradients; under ZeRO-3 a DeepSpeed engine.

    It is as large as the policy, so it is sharded over the ranks if the policy is.
    """
    scorer = scorer.eval().requires_grad_(False)
    if setup.learner.zero_stage < 3:
        return scorer.to(device)
    config = deepspeed_config(setup, trained=False)
    return deepspeed.initialize(model=scorer, config=config)[0]
