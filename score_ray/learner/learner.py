"""The DeepSpeed side: one optimizer step per iteration, and the frozen reference.

The learner knows no stage, no KL and no bonus: it gets rows of tokens and one weight per
attempt. Sums are divided by the number of episodes of the whole iteration, so any split
into micro-batches and ranks gives the same gradient.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed reads it when imported

import deepspeed
from deepspeed.runtime.zero.offload_config import OffloadStateTypeEnum
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from score_ray.algorithm.batch import MicroBatch, Row, collate
from score_ray.algorithm.loss import (
    Measure,
    add_up,
    attempt_sums,
    importance_weights,
    mismatch,
    truncated,
    weighted_loss,
)
from score_ray.learner.attention import caps_scores, choose_attention, flash_is_installed
from score_ray.learner.matmul_rate import matmul_rate
from score_ray.learner.offload import Aside, bring_back, put_aside, tensors_in
from score_ray.learner.optimizer import adamw, deepspeed_config, rate_at
from score_ray.learner.options import LearnerOptions
from score_ray.learner.token_logprobs import TokenScorer
from score_ray.weights.packing import PackedTensor, described, named_weights, parts
from score_ray.weights.policy_source import PolicySource

Measures = dict[str, Measure]
GRADIENT_BUFFER = OffloadStateTypeEnum.contiguous_grad_buffer  # in use within updates alone


def join_ranks(host: str, port: int, rank: int, num_ranks: int, listener: int | None) -> None:
    """Meet the other ranks; `listener` is rank 0's open socket at that host and port.

    The socket is bound already, so that it listens where it should and nobody takes the port.
    """
    distributed: Any = torch.distributed
    store = distributed.TCPStore(
        host, port, num_ranks, is_master=rank == 0, master_listen_fd=listener
    )
    on_gpu = torch.cuda.is_available()
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=num_ranks
    )


def lora() -> Any:
    """The module, imported where a run has an adapter: peft takes seconds to import."""
    import score_ray.learner.lora

    return score_ray.learner.lora


class Learner:
    """One rank: the policy in a DeepSpeed engine beside its frozen reference."""

    def __init__(self, options: LearnerOptions, rank: int, num_ranks: int) -> None:
        self._options, self._rank, self._num_ranks = options, rank, num_ranks
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        deepspeed.init_distributed(dist_backend="nccl" if self.device.type == "cuda" else "gloo")
        self._aside: Aside = []
        if options.dtype == "bfloat16" and self.device.type == "cuda":
            # For adapters, which are in float32: of that TF32 keeps more than bfloat16 has.
            torch.set_float32_matmul_precision("high")
        policy = self._load()
        if options.lora_rank:  # without its adapter the policy is the reference
            lora().with_adapter(policy.model, options)
        self._reference = None if options.lora_rank else self._frozen(self._load())
        self._engine = self._trained(policy)

    def reference_sums(
        self, rows: Sequence[Row], shards: list[list[int]], num_attempts: int
    ) -> dict[int, list]:
        """Sum of the reference's log-probs per attempt, by row index, for this rank's share."""
        with torch.no_grad():
            return {
                index: sums
                for indices in shards
                for index, sums in self._sums_of(rows, indices, num_attempts)
            }

    def update(
        self, rows: Sequence[Row], weights: np.ndarray, shards: list[list[int]], iteration: int
    ) -> Measures:
        """One optimizer step on this rank's share; metrics to be added up over ranks.

        `weights` is [rows, attempts] for all rows; `shards` are this rank's micro-batches
        of row indices, as many on every rank.
        """
        rate = rate_at(self._options, iteration)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.train()
        found = [
            self._backward(rows, weights, indices, last=number == len(shards) - 1)
            for number, indices in enumerate(shards)
        ]
        norm = self._grad_norm()
        self._engine.step()
        return {**add_up(found), "grad_norm": (norm, 1.0), "lr": (rate, 1.0)}

    def score(self, rows: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """The policy's log-probs of every token of each row but the first.

        At temperature 1, as the engine scores prompts.
        """
        batch = collate([Row(row, (0,) * len(row), (0.0,) * len(row)) for row in rows])
        ids, attention = batch.token_ids.to(self.device), batch.attention.to(self.device)
        self._engine.eval()
        with torch.no_grad():
            scores = self._engine(ids, attention, attention, 1.0).tolist()
        return [found[1 : len(row)] for found, row in zip(scores, rows, strict=True)]

    def packed_weights(self, part_bytes: int) -> Iterator[tuple[list[PackedTensor], np.ndarray]]:
        """The policy in parts of about `part_bytes`, from rank 0; a collective under ZeRO-3."""
        model = self._engine.module.model
        alone = self._options.adapter_alone
        weights = lora().adapter_weights(model) if alone else self._policy_weights()
        if self._rank == 0:
            yield from parts(weights, part_bytes)
        elif self._options.zero_stage == 3:
            deque(weights, maxlen=0)  # takes part in the gathering

    def source(self) -> PolicySource:
        """The policy for vLLM's own senders; a pass over it is a collective under ZeRO-3."""
        return PolicySource(self._policy_weights, self._described)

    def matmul_rate(self) -> float:
        """FLOP/s of a matrix product on this rank's device, in the policy's numbers."""
        return matmul_rate(self.device, getattr(torch, self._options.dtype))

    def sleep(self) -> None:
        """Leave the GPU to others: all weights and states go to the CPU's memory."""
        if self._aside:
            return
        if self._options.zero_stage == 3:
            self._engine.offload_states(include=[GRADIENT_BUFFER])
        self._aside = put_aside(tensors_in((self._engine, self._reference)), self.device)

    def wake(self) -> None:
        """Take the GPU again; everything is as it was before `sleep`."""
        bring_back(self._aside)
        if self._aside and self._options.zero_stage == 3:
            self._engine.reload_states()
        self._aside = []

    def save(self, folder: Path) -> None:
        """Write this rank's share of policy and optimizer; a collective."""
        self._engine.save_checkpoint(
            str(folder),
            tag="learner",
            save_latest=False,
            exclude_frozen_parameters=bool(self._options.lora_rank),
        )

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote; a collective."""
        load = lora().load_trainable if self._options.lora_rank else None
        found, _ = self._engine.load_checkpoint(str(folder), tag="learner", custom_load_fn=load)
        if found is None:
            raise FileNotFoundError(f"{folder}: holds no learner state")

    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face model folder, tokenizer included."""
        weights = {
            name: tensor.detach().to("cpu", copy=True) if self._rank == 0 else None
            for name, tensor in self._policy_weights()
        }
        if self._rank == 0:
            model = self._engine.module.model
            model.save_pretrained(folder, state_dict=weights)
            AutoTokenizer.from_pretrained(self._options.model).save_pretrained(folder)
        if self._options.lora_rank:
            model, write = self._engine.module.model, self._rank == 0
            lora().save_adapter(model, self._options, folder / "adapter", write)

    def _policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self._options.lora_rank:
            return lora().merged_weights(self._engine.module.model)
        return (
            (name.removeprefix("model."), tensor)
            for name, tensor in named_weights(self._engine.module)
        )

    def _described(self) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
        if self._options.lora_rank:
            return lora().described(self._engine.module.model)
        return (
            (name.removeprefix("model."), dtype, shape)
            for name, dtype, shape in described(self._engine.module)
        )

    def _grad_norm(self) -> float:
        """Norm of the whole gradient, all ranks' shares together, before clipping."""
        gradient: Any = deepspeed.utils.safe_get_full_grad  # ZeRO shards it; None only if unused
        trained = [p for p in self._engine.module.parameters() if p.requires_grad]
        squares = [gradient(p).float().norm() ** 2 for p in trained]
        return float(torch.stack(squares).sum().sqrt())

    def _load(self) -> TokenScorer:
        options = self._options
        on_gpu = self.device.type == "cuda"
        capped = caps_scores(AutoConfig.from_pretrained(options.model))
        kernels = choose_attention(
            options.attention, options.dtype, flash_is_installed(), on_gpu, capped
        )
        model = AutoModelForCausalLM.from_pretrained(
            options.model, dtype=getattr(torch, options.dtype), attn_implementation=kernels
        )
        lockstep = options.zero_stage == 3 and self._num_ranks > 1
        return TokenScorer(model, options.logits_bytes, options.packing, lockstep)

    def _trained(self, policy: TokenScorer) -> Any:
        if self._options.gradient_checkpointing:
            policy.model.gradient_checkpointing_enable({"use_reentrant": False})
        trainable = [p for p in policy.parameters() if p.requires_grad]
        optimizer = adamw(self._options, trainable)
        config = deepspeed_config(self._options)
        return deepspeed.initialize(model=policy, optimizer=optimizer, config=config)[0]

    def _frozen(self, model: TokenScorer) -> Any:
        model = model.eval().requires_grad_(False)
        if self._options.zero_stage < 3:
            return model.to(self.device)
        # As large as the policy: where that is sharded over the ranks, so is this.
        config = deepspeed_config(self._options, trained=False)
        return deepspeed.initialize(model=model, config=config)[0]

    @contextmanager
    def _as_reference(self) -> Iterator[Any]:
        if self._reference is not None:
            yield self._reference
            return
        self._engine.eval()
        with lora().without_adapter(self._engine.module.model):
            yield self._engine

    def _logprobs(self, model: Any, batch: MicroBatch, turn: torch.Tensor) -> torch.Tensor:
        """[B, T] log-probs of the drawn tokens, at the temperature they were drawn with."""
        ids, attention = batch.token_ids.to(self.device), batch.attention.to(self.device)
        return model(ids, attention, turn > 0, self._options.temperature)

    def _sums_of(
        self, rows: Sequence[Row], indices: list[int], num_attempts: int
    ) -> list[tuple[int, list]]:
        # A rank without rows takes part with one that nobody asks for, as in `_backward`.
        batch = collate([rows[i] for i in indices or [0]])
        turn = batch.turn_ids.to(self.device)
        with self._as_reference() as reference:
            logprobs = self._logprobs(reference, batch, turn)
        sums = attempt_sums(logprobs, turn, num_attempts)
        return list(zip(indices, sums.tolist(), strict=bool(indices)))

    def _backward(
        self, rows: Sequence[Row], weights: np.ndarray, indices: list[int], last: bool
    ) -> Measures:
        # Every rank runs the same number of micro-batches, since ZeRO-3 gathers in each;
        # a rank that has run out of rows takes part with a row of weight 0.
        real, chosen = bool(indices), indices or [0]
        batch = collate([rows[i] for i in chosen])
        turn, sampled = batch.turn_ids.to(self.device), batch.sampled_logprobs.to(self.device)
        logprobs = self._logprobs(self._engine, batch, turn)
        importance = self._importance(logprobs, sampled)
        weight = torch.from_numpy(weights[chosen]).to(self.device, torch.float32) * real
        loss = weighted_loss(logprobs, turn, weight, importance) / len(rows)
        self._engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages over ranks; the loss is already divided by the global count.
        self._engine.backward(loss * self._num_ranks)
        drawn = (turn > 0) & ~sampled.isnan() & real
        found: Measures = {"loss": (float(loss.detach()) * len(rows), float(len(indices)))}
        if importance is not None:
            found |= truncated(importance, drawn, self._options.max_importance)
        return found | mismatch(logprobs, sampled, drawn)

    def _importance(self, logprobs: torch.Tensor, sampled: torch.Tensor) -> torch.Tensor | None:
        bound = self._options.max_importance
        return importance_weights(logprobs, sampled, bound) if bound else None
