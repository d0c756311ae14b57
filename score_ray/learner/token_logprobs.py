"""A causal language model that returns log-probs of drawn tokens, and only of those.

Shapes: B rows, T tokens, M scored positions, H hidden width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from score_ray.algorithm.loss import token_logprobs


class TokenScorer(torch.nn.Module):
    """The output head runs on the positions that are asked for, and on few of them at a time.

    With a vocabulary of 49k and long prompts it would otherwise be most of the work. No more
    than `logits_bytes` of float32 logits exist at once, in the forward and the backward pass
    (where log-softmax holds a few tensors of that size): positions beyond that are scored in
    chunks, whose logits the backward pass computes again.

    With `packing` the rows go through the body one after the other as a single row, without
    padding. transformers tells them apart by their positions, which start again at 0. It does
    so where no mask is given: flash_attention_2 then gets the rows' boundaries, but sdpa and
    eager get a T x T mask of the whole packed row, and compute it all.

    `lockstep` is for a head whose weights are sharded over ranks: running it is a collective,
    so every rank makes as many chunks as the one that needs most.
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
        """[B, T] float32 log-probs of `ids` where `wanted`, 0 elsewhere; position 0 has none."""
        rows, columns = torch.nonzero(wanted[:, 1:], as_tuple=True)
        hidden = self._hidden(ids, attention, rows, columns)
        found = self._in_chunks(hidden, ids[rows, columns + 1], temperature)
        scores = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
        return scores.index_put((rows, columns + 1), found)

    def _hidden(self, ids: Tensor, attention: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """[M, H] the body's output at the given places."""
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
        """[M] log-probs of the targets [M]."""
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
        if cap:  # Gemma 2: outside the head, as in transformers
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
