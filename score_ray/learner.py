"""The DeepSpeed side: one optimiser step per iteration, and the frozen reference.

The learner knows no stage, no KL and no bonus: it gets rows of tokens and one weight per
attempt. Sums are divided by the number of episodes of the whole iteration, so any split
into micro-batches and ranks gives the same gradient.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed reads it when imported

import deepspeed
from transformers import AutoModelForCausalLM, AutoTokenizer

from score_ray.batch import MicroBatch, Row, collate
from score_ray.loss import attempt_sums, token_logprobs, weighted_loss
from score_ray.types import LearnerOptions
from score_ray.weights.source import Entry, named_weights, parts

Sums = dict[str, tuple[float, float]]


class TokenScorer(torch.nn.Module):
    """A causal language model that returns log-probs of drawn tokens, and only of those.

    The output head runs on the positions that are asked for: with a vocabulary of 49k and
    long prompts it would otherwise be most of the work.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        ids: torch.Tensor,
        attention: torch.Tensor,
        wanted: torch.Tensor,
        temperature: float,
    ) -> torch.Tensor:
        """[B, T] log-probs of `ids` where `wanted`, 0 elsewhere; position 0 has none."""
        hidden = self.model.base_model(
            input_ids=ids, attention_mask=attention, use_cache=False
        ).last_hidden_state  # [B, T, H]
        rows, columns = torch.nonzero(wanted[:, 1:], as_tuple=True)
        logits = self.model.get_output_embeddings()(hidden[rows, columns])  # [M, V]
        found = token_logprobs(logits, ids[rows, columns + 1], temperature)
        scores = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
        return scores.index_put((rows, columns + 1), found)


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


class Learner:
    """One rank: the policy in a DeepSpeed engine beside its frozen reference."""

    def __init__(self, options: LearnerOptions, rank: int, num_ranks: int) -> None:
        self._options, self._rank, self._num_ranks = options, rank, num_ranks
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        deepspeed.init_distributed(dist_backend="nccl" if self.device.type == "cuda" else "gloo")
        self._reference = self._frozen(self._load())
        policy = self._load()
        optimizer = torch.optim.AdamW(
            policy.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self._engine: Any
        self._engine, *_ = deepspeed.initialize(
            model=policy, optimizer=optimizer, config=_deepspeed_config(options)
        )

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
    ) -> Sums:
        """One optimiser step on this rank's share; metrics as (sum, count).

        `weights` is [rows, attempts] for all rows; `shards` are this rank's micro-batches
        of row indices, as many on every rank.
        """
        rate = rate_at(self._options, iteration)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.train()
        parts = [
            self._backward(rows, weights, indices, last=number == len(shards) - 1)
            for number, indices in enumerate(shards)
        ]
        norm = self._grad_norm()
        self._engine.step()
        totals = {
            key: (sum(p[key][0] for p in parts), sum(p[key][1] for p in parts)) for key in parts[0]
        }
        return {**totals, "grad_norm": (norm, 1.0), "lr": (rate, 1.0)}

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

    def packed_weights(self, part_bytes: int) -> Iterator[tuple[list[Entry], np.ndarray]]:
        """The policy in parts of about `part_bytes`, from rank 0; a collective under ZeRO-3."""
        weights = self._policy_weights()
        if self._rank == 0:
            yield from parts(weights, part_bytes)
        elif self._options.zero_stage == 3:
            deque(weights, maxlen=0)  # takes part in the gathering

    def sizes(self) -> dict[str, int]:
        """Weights in the body's matrices and in the output head, for counting FLOPs."""
        model = self._engine.module.model
        body = sum(
            p.numel()
            for n, p in model.base_model.named_parameters()
            if p.ndim == 2 and "embed" not in n
        )
        return {"body": body, "head": model.get_output_embeddings().weight.numel()}

    def save(self, folder: Path) -> None:
        """Write this rank's share of policy and optimiser; a collective."""
        self._engine.save_checkpoint(str(folder), tag="learner", save_latest=False)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote; a collective."""
        found, _ = self._engine.load_checkpoint(str(folder), tag="learner")
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

    def _policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        return (
            (name.removeprefix("model."), tensor)
            for name, tensor in named_weights(self._engine.module)
        )

    def _grad_norm(self) -> float:
        """Norm of the whole gradient, all ranks' shares together, before clipping."""
        gradient: Any = deepspeed.utils.safe_get_full_grad  # ZeRO shards it; None only if unused
        squares = [gradient(p).float().norm() ** 2 for p in self._engine.module.parameters()]
        return float(torch.stack(squares).sum().sqrt())

    def _frozen(self, model: TokenScorer) -> Any:
        model = model.eval().requires_grad_(False)
        if self._options.zero_stage < 3:
            return model.to(self.device)
        # As large as the policy: where that is sharded over the ranks, so is this.
        return deepspeed.initialize(model=model, config=_deepspeed_config(self._options))[0]

    def _load(self) -> TokenScorer:
        dtype = getattr(torch, self._options.dtype)
        model = AutoModelForCausalLM.from_pretrained(self._options.model, dtype=dtype)
        return TokenScorer(model)

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
        logprobs = self._logprobs(self._reference, batch, turn)
        sums = attempt_sums(logprobs, turn, num_attempts)
        return list(zip(indices, sums.tolist(), strict=bool(indices)))

    def _backward(
        self, rows: Sequence[Row], weights: np.ndarray, indices: list[int], last: bool
    ) -> Sums:
        # Every rank runs the same number of micro-batches, since ZeRO-3 gathers in each;
        # a rank that has run out of rows takes part with a row of weight 0.
        chosen = indices or [0]
        batch = collate([rows[i] for i in chosen])
        turn = batch.turn_ids.to(self.device)
        logprobs = self._logprobs(self._engine, batch, turn)
        weight = torch.from_numpy(weights[chosen]).to(self.device, torch.float32)
        loss = weighted_loss(logprobs, turn, weight * bool(indices)) / len(rows)
        self._engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages over ranks; the loss is already divided by the global count.
        self._engine.backward(loss * self._num_ranks)
        drawn = (batch.turn_ids > 0) & ~batch.sampled_logprobs.isnan()
        gap = (logprobs.detach().cpu() - batch.sampled_logprobs)[drawn].abs()
        tokens = float(drawn.sum()) * bool(indices)
        return {
            "loss": (float(loss.detach()) * len(rows), float(len(indices))),
            "mismatch/sampled_mean_abs": (float(gap.sum()) * bool(indices), tokens),
        }


def rate_at(options: LearnerOptions, iteration: int) -> float:
    """The learning rate of an iteration: it warms up, and falls linearly over the run."""
    warm = min(1.0, (iteration + 1) / (options.warmup_iterations + 1))
    fallen = (1.0 - options.decay_to) * iteration / options.iterations
    return options.learning_rate * warm * (1.0 - fallen)


def _deepspeed_config(options: LearnerOptions) -> dict:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": options.max_grad_norm,
        "zero_optimization": {"stage": options.zero_stage},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": options.dtype == "bfloat16"},
        "steps_per_print": 10**9,
    }
