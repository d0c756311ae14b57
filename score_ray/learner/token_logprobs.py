"""A causal language model that returns the log-probs of chosen tokens, and of no others.

Shapes: B rows, T tokens, M scored positions, H hidden width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from score_ray.algorithm.loss import token_logprobs


class TokenScorer(torch.nn.Module):
    """A causal language model whose output head runs on chosen positions only, in chunks.

    On all positions the head would be most of the work, with long prompts and a vocabulary of
    49k. No more than `logits_bytes` of float32 logits exist at once; the backward pass holds a
    few tensors of that size in log-softmax. If there are more, the positions are scored in
    chunks, and the backward pass computes each chunk's logits again.

    With `packing` the rows pass the body as one long row, without padding. transformers
    recognises the rows by their positions, which start again at 0, if it is given no mask. For
    flash_attention_2 it passes on where rows begin. For sdpa and eager it makes a T x T mask of
    the long row, and all of that is computed.

    `lockstep` is for a head whose weights are sharded over ranks. Running it is then a
    collective, so every rank makes as many chunks as the rank that needs most.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        logits_bytes: int = 2**29,
        packing: bool = False,
        lockstep: bool = False,
    ) -> None:
        super().__init__()
        self.model: Any = model
        self._logits_bytes, self._packing, self._lockstep = logits_bytes, packing, lockstep

    def forward(self, ids: Tensor, attention: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Return float32 log-probs [B, T] of the `wanted` ids; elsewhere, and in column 0, 0."""
        rows, columns = torch.nonzero(wanted[:, 1:], as_tuple=True)
        hidden = self._hidden(ids, attention, rows, columns)
        logprobs = self._in_chunks(hidden, ids[rows, columns + 1], temperature)
        scores = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
        return scores.index_put((rows, columns + 1), logprobs)

    def _hidden(self, ids: Tensor, attention: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the body's output [M, H] at the given rows and columns."""
        if not self._packing:
            body = self.model.base_model(input_ids=ids, attention_mask=attention, use_cache=False)
            return body.last_hidden_state[rows, columns]
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        body = self.model.base_model(
            input_ids=ids[attention][None], position_ids=positions[attention][None], use_cache=False
        )
        place = attention.flatten().cumsum(0).view_as(ids) - 1  # in the packed row
        return body.last_hidden_state[0, place[rows, columns]]

    def _in_chunks(self, hidden: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """Return log-probs [M] of the targets [M]."""
        count = self._num_chunks(hidden)
        if count == 1:
            return self._score(hidden, targets, temperature)
        chunks = zip(hidden.tensor_split(count), targets.tensor_split(count), strict=True)
        return torch.cat(
            [
                checkpoint(
                    self._score, *chunk, temperature, use_reentrant=False, preserve_rng_state=False
                )
                for chunk in chunks
            ]
        )

    def _score(self, hidden: Tensor, targets: Tensor, temperature: float) -> Tensor:
        logits = self.model.get_output_embeddings()(hidden)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        if cap:  # Gemma 2 does this after the head, also in transformers
            logits = cap * torch.tanh(logits / cap)
        return token_logprobs(logits, targets, temperature)

    def _num_chunks(self, hidden: Tensor) -> int:
        fits = max(1, self._logits_bytes // (4 * self.model.config.vocab_size))
        count = max(1, -(-len(hidden) // fits))
        if not self._lockstep:
            return count
        most = torch.tensor(count, device=hidden.device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return int(most.item())
