"""One learner rank: an optimizer step per iteration on DeepSpeed, and the frozen reference.

The learner does not know stages, KL or bonus: it gets rows of tokens and one advantage per
attempt. Sums are divided by the number of episodes of the whole iteration, so any split
into micro-batches and ranks gives the same gradient.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoTokenizer

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
from score_ray.learner.all_weights import AllWeights
from score_ray.learner.loading import (
    GRADIENT_BUFFER,
    deepspeed,
    freeze,
    load_scorer,
    train_engine,
)
from score_ray.learner.optimizer import learning_rate_at
from score_ray.learner.setup import LearnerSetup
from score_ray.learner.sleep import MovedStorages, move_back, move_to_host, tensors_in
from score_ray.learner.token_logprobs import TokenScorer
from score_ray.weights.packing import PackedTensor, parts
from score_ray.weights.plain_folder import plain_folder
from score_ray.weights.policy_source import PolicySource

if TYPE_CHECKING:
    from score_ray.learner.lora import LoraWeights

Measures = dict[str, Measure]


class Learner:
    """One rank's share of the policy, in a DeepSpeed engine, and of the frozen reference."""

    def __init__(self, setup: LearnerSetup, rank: int, num_ranks: int) -> None:
        self._setup, self._rank, self._num_ranks = setup, rank, num_ranks
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        deepspeed.init_distributed(dist_backend="nccl" if self.device.type == "cuda" else "gloo")
        self._moved: MovedStorages = []
        if setup.model.dtype == "bfloat16" and self.device.type == "cuda":
            # Adapters are float32, of which TF32 keeps more than the model's bfloat16 does.
            torch.set_float32_matmul_precision("high")
        scorer = load_scorer(setup, num_ranks)
        self._policy = self._trained_weights(scorer)
        self._engine = train_engine(scorer, setup)

    def reference_sums(
        self, rows: Sequence[Row], shards: list[list[int]], num_attempts: int
    ) -> dict[int, list]:
        """Return the reference's summed log-probs per attempt, by index of this rank's rows."""
        with torch.no_grad():
            return {
                index: sums
                for indices in shards
                for index, sums in self._sum_logprobs(rows, indices, num_attempts)
            }

    def update(
        self, rows: Sequence[Row], advantages: np.ndarray, shards: list[list[int]], iteration: int
    ) -> Measures:
        """Take one optimizer step on this rank's rows; return measures to add up over ranks.

        `advantages` is [rows, attempts] for all rows; `shards` are this rank's micro-batches
        of row indices, as many on every rank.
        """
        learning_rate = learning_rate_at(self._setup, iteration)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.train()
        measures = [
            self._backward(rows, advantages, indices, last=number == len(shards) - 1)
            for number, indices in enumerate(shards)
        ]
        norm = self._grad_norm()
        self._engine.step()
        return {**add_up(measures), "grad_norm": (norm, 1.0), "learning_rate": (learning_rate, 1.0)}

    def score(self, rows: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """Return the policy's log-probs of every token of each row but the first.

        They are at temperature 1, as the engine's log-probs of prompts are.
        """
        batch = collate([Row(row, (0,) * len(row), (0.0,) * len(row)) for row in rows])
        ids, attention = batch.token_ids.to(self.device), batch.attention.to(self.device)
        self._engine.eval()
        with torch.no_grad():
            scores = self._engine(ids, attention, attention, 1.0).tolist()
        return [values[1 : len(row)] for values, row in zip(scores, rows, strict=True)]

    def packed_weights(self, part_bytes: int) -> Iterator[tuple[list[PackedTensor], np.ndarray]]:
        """Yield the weights for engines in parts of about `part_bytes`, on rank 0 alone.

        A collective under ZeRO-3: the other ranks yield nothing, and take part in gathering.
        """
        weights = self._policy.broadcast()
        if self._rank == 0:
            yield from parts(weights, part_bytes)
        elif self._setup.learner.zero_stage == 3:
            deque(weights, maxlen=0)

    def source(self) -> PolicySource:
        """Return the policy for vLLM's senders; a pass over it is a collective under ZeRO-3."""
        return PolicySource(self._policy.whole, self._policy.describe)

    def sleep(self) -> None:
        """Move all weights and states from the GPU to the CPU's memory."""
        if self._moved:
            return
        if self._setup.learner.zero_stage == 3:
            self._engine.offload_states(include=[GRADIENT_BUFFER])
        self._moved = move_to_host(self.tensors(), self.device)

    def wake(self) -> None:
        """Move everything back to the GPU, as it was before `sleep`."""
        move_back(self._moved)
        if self._moved and self._setup.learner.zero_stage == 3:
            self._engine.reload_states()
        self._moved = []

    @property
    def is_asleep(self) -> bool:
        """Whether `sleep` was called, and not yet `wake`."""
        return bool(self._moved)

    def tensors(self) -> Iterator[torch.Tensor]:
        """Yield every tensor of policy, optimizer and reference."""
        return tensors_in((self._engine, self._policy.frozen_copy))

    def save(self, folder: Path) -> None:
        """Write this rank's share of policy and optimizer; a collective."""
        self._engine.save_checkpoint(
            str(folder),
            tag="learner",
            save_latest=False,
            exclude_frozen_parameters=self._policy.adapter_only,
        )

    def restore(self, folder: Path) -> None:
        """Load what `save` wrote; a collective. Raises FileNotFoundError if there is nothing."""
        with plain_folder(folder) as named:
            path, _ = self._engine.load_checkpoint(
                named, tag="learner", custom_load_fn=self._policy.load_weights
            )
        if path is None:
            raise FileNotFoundError(f"{folder}: holds no learner state")

    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face model folder, with its tokenizer and adapter."""
        writes = self._rank == 0
        weights = {
            name: tensor.detach().to("cpu", copy=True) if writes else None
            for name, tensor in self._policy.whole()
        }
        if writes:
            self._engine.module.model.save_pretrained(folder, state_dict=weights)
            AutoTokenizer.from_pretrained(self._setup.model_folder).save_pretrained(folder)
        self._policy.export_adapter(folder / "adapter", writes)

    def _trained_weights(self, scorer: TokenScorer) -> "AllWeights | LoraWeights":
        """Return the weights to train, together with the reference."""
        if self._setup.learner.lora.rank:
            from score_ray.learner.lora import LoraWeights  # peft takes seconds to import

            return LoraWeights(scorer.model, self._setup)
        reference = load_scorer(self._setup, self._num_ranks)
        return AllWeights(scorer.model, freeze(reference, self._setup, self.device))

    def _grad_norm(self) -> float:
        """Return the norm of the whole gradient, over all ranks, before it is clipped."""
        gradient: Any = deepspeed.utils.safe_get_full_grad  # gathers a sharded gradient
        trained = [p for p in self._engine.module.parameters() if p.requires_grad]
        squares = [gradient(p).float().norm() ** 2 for p in trained]
        return float(torch.stack(squares).sum().sqrt())

    def _logprobs(self, model: Any, batch: MicroBatch, turn_ids: torch.Tensor) -> torch.Tensor:
        """Return the sampled tokens' log-probs [B, T] at the temperature of sampling."""
        ids, attention = batch.token_ids.to(self.device), batch.attention.to(self.device)
        return model(ids, attention, turn_ids > 0, self._setup.temperature)

    def _sum_logprobs(
        self, rows: Sequence[Row], indices: list[int], num_attempts: int
    ) -> list[tuple[int, list]]:
        # A rank without rows takes part with row 0 and drops the result, as in `_backward`.
        batch = collate([rows[i] for i in indices or [0]])
        turn_ids = batch.turn_ids.to(self.device)
        with self._policy.as_reference(self._engine) as reference:
            logprobs = self._logprobs(reference, batch, turn_ids)
        sums = attempt_sums(logprobs, turn_ids, num_attempts)
        return list(zip(indices, sums.tolist(), strict=bool(indices)))

    def _backward(
        self, rows: Sequence[Row], advantages: np.ndarray, indices: list[int], last: bool
    ) -> Measures:
        # ZeRO-3 gathers weights in every micro-batch, so every rank runs the same number of
        # them: a rank that has no rows left takes part with row 0 and an advantage of 0.
        is_real, chosen = bool(indices), indices or [0]
        batch = collate([rows[i] for i in chosen])
        turn_ids, sampled = batch.turn_ids.to(self.device), batch.sampled_logprobs.to(self.device)
        logprobs = self._logprobs(self._engine, batch, turn_ids)
        importance = self._importance(logprobs, sampled)
        advantage = torch.from_numpy(advantages[chosen]).to(self.device, torch.float32) * is_real
        loss = weighted_loss(logprobs, turn_ids, advantage, importance) / len(rows)
        self._engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages over ranks; the loss is already divided by the global count.
        self._engine.backward(loss * self._num_ranks)
        is_sampled = (turn_ids > 0) & ~sampled.isnan() & is_real
        measures: Measures = {"loss": (float(loss.detach()) * len(rows), float(len(indices)))}
        if importance is not None:
            measures |= truncated(importance, is_sampled, self._setup.learner.max_importance)
        return measures | mismatch(logprobs, sampled, is_sampled)

    def _importance(self, logprobs: torch.Tensor, sampled: torch.Tensor) -> torch.Tensor | None:
        bound = self._setup.learner.max_importance
        return importance_weights(logprobs, sampled, bound) if bound else None
