import pytest
import torch

from score_ray.batch import Row, collate, shard
from score_ray.loss import attempt_sums, merge, token_logprobs, weighted_loss


def test_the_weighted_loss_by_hand_on_two_rows_of_three_tokens():
    logprobs = torch.tensor([[9.0, -1.0, -2.0], [9.0, -3.0, -4.0]])
    turns = torch.tensor([[0, 1, 2], [0, 1, 1]])
    advantages = torch.tensor([[1.0, 2.0], [0.5, 7.0]])
    # -(1*-1 + 2*-2 + 0.5*(-3-4)) = 8.5
    assert weighted_loss(logprobs, turns, advantages).item() == 8.5


def test_context_tokens_get_no_gradient():
    logprobs = torch.zeros(1, 3, requires_grad=True)
    weighted_loss(logprobs, torch.tensor([[0, 1, 2]]), torch.tensor([[3.0, 5.0]])).backward()
    assert logprobs.grad.tolist() == [[0.0, -3.0, -5.0]]


def test_attempt_sums_by_hand():
    sums = attempt_sums(torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([[0, 1, 2, 2]]), 2)
    assert sums.tolist() == [[2.0, 12.0]]


def test_token_logprobs_equals_log_softmax_at_the_temperature():
    logits = torch.randn(5, 7)
    targets = torch.randint(7, (5,))
    wanted = torch.log_softmax(logits / 0.5, -1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(token_logprobs(logits, targets, 0.5), wanted)


def test_merge_adds_sums_and_counts_before_dividing():
    assert merge([{"a": (1.0, 1.0)}, {"a": (5.0, 2.0), "b": (3.0, 0.0)}]) == {"a": 2.0, "b": 0.0}


def rows() -> list[Row]:
    make = torch.Generator().manual_seed(3)
    made = []
    for length in (5, 9, 6, 7, 9, 4, 8):
        ids = torch.randint(0, 11, (length,), generator=make).tolist()
        turns = [0, 0, 1] + [0] * (length > 5) + [2] * (length - 3 - (length > 5))
        made.append(Row(tuple(ids), tuple(turns), (0.0,) * length))
    return made


class Tiny(torch.nn.Module):
    """Logits from the sum of the embeddings so far: causal, and blind to what is padded on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(11, 8).double()
        self.head = torch.nn.Linear(8, 11).double()

    def forward(self, ids):
        logits = self.head(self.embedding(ids).cumsum(1))[:, :-1]
        logprobs = logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        return torch.nn.functional.pad(logprobs, (1, 0))


def gradient(micro_batches: list[list[int]], extra_padding: int = 0) -> torch.Tensor:
    model, all_rows = Tiny(), rows()
    advantages = torch.arange(14, dtype=torch.float64).view(7, 2) - 6.5
    for indices in micro_batches:
        batch = collate([all_rows[i] for i in indices])
        ids = torch.nn.functional.pad(batch.token_ids, (0, extra_padding))
        turns = torch.nn.functional.pad(batch.turn_ids, (0, extra_padding))
        (weighted_loss(model(ids), turns, advantages[indices]) / len(all_rows)).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
@pytest.mark.parametrize("budget", [1, 16, 100])
def test_gradient_does_not_depend_on_shards_and_micro_batches(num_ranks, budget):
    shares = shard([len(r.token_ids) for r in rows()], num_ranks, budget)
    split = [indices for share in shares for indices in share if indices]
    torch.testing.assert_close(gradient(split), gradient([list(range(7))]), rtol=0, atol=1e-12)


def test_gradient_does_not_depend_on_padding():
    whole = [list(range(7))]
    torch.testing.assert_close(gradient(whole, 5), gradient(whole), rtol=0, atol=1e-12)
