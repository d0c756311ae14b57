import math
import pickle

import pytest
import torch

from score_ray.algorithm.batch import Row, collate, shard
from score_ray.algorithm.loss import (
    Maximum,
    add_up,
    attempt_sums,
    importance_weights,
    merge,
    mismatch,
    token_logprobs,
    truncated,
    weighted_loss,
)

NAN = float("nan")


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


def test_merging_keeps_the_largest_maximum_in_any_order():
    ranks = [[{"a": Maximum(-3.0)}, {"a": Maximum(-1.0)}], [{"a": Maximum(-2.0), "b": (1.0, 2.0)}]]
    shares = [add_up(parts) for parts in ranks]
    assert merge(shares) == merge(reversed(shares)) == {"a": -1.0, "b": 0.5}
    assert merge([{"a": Maximum(-2.0)}]) == {"a": -2.0}
    assert isinstance(pickle.loads(pickle.dumps(shares[0]))["a"], Maximum)  # between processes
    with pytest.raises(TypeError, match="a maximum and a sum"):
        add_up([{"a": Maximum(1.0)}, {"a": (1.0, 1.0)}])


def test_the_mismatch_by_hand_leaves_out_tokens_that_were_not_sampled():
    """The sampler had .25 and .2 where the learner has .5 and .1; two tokens are not compared."""
    logprobs = torch.tensor([[0.5, 0.1, 0.9, 0.9]]).log()
    sampled = torch.tensor([[0.25, 0.2, NAN, 0.1]]).log()
    found = mismatch(logprobs, sampled, torch.tensor([[True, True, False, False]]))
    assert found["mismatch_mean_abs"] == (pytest.approx(2 * math.log(2)), 2.0)
    assert found["mismatch_max_abs"] == pytest.approx(math.log(2))
    k3 = (2 - 1 - math.log(2)) + (0.5 - 1 + math.log(2))
    assert found["mismatch_kl"] == (pytest.approx(k3), 2.0)


def test_without_sampled_tokens_the_mismatch_is_0():
    none = torch.zeros(1, 2, dtype=torch.bool)
    found = merge([mismatch(torch.zeros(1, 2), torch.full((1, 2), NAN), none)])
    assert set(found.values()) == {0.0}


def test_averaged_over_sampled_tokens_the_mismatch_is_the_kl():
    policy, sampler = torch.randn(5).log_softmax(0), torch.randn(5).log_softmax(0)
    yes = torch.tensor([True])
    terms = [mismatch(policy[i : i + 1], sampler[i : i + 1], yes) for i in range(5)]
    expected = sum(
        float(p) * term["mismatch_kl"][0] for p, term in zip(sampler.exp(), terms, strict=True)
    )
    assert expected == pytest.approx(float((sampler.exp() * (sampler - policy)).sum()), abs=1e-6)


def test_importance_weights_by_hand():
    """.5 over .25 is 2, .1 over .2 is .5, .9 over .1 is cut at 4; a token that was not sampled counts 1."""
    logprobs = torch.tensor([0.5, 0.1, 0.9, 0.3]).log().requires_grad_()
    sampled = torch.tensor([0.25, 0.2, 0.1, NAN]).log()
    found = importance_weights(logprobs, sampled, 4.0)
    torch.testing.assert_close(found, torch.tensor([2.0, 0.5, 4.0, 1.0]))
    assert not found.requires_grad
    drawn = torch.tensor([True, True, True, False])
    assert truncated(found, drawn, 4.0) == {"truncated": (1.0, 3.0)}


def test_an_importance_weight_multiplies_its_own_tokens_term():
    logprobs = torch.tensor([[9.0, -1.0, -2.0]], requires_grad=True)
    turns, advantages = torch.tensor([[0, 1, 2]]), torch.tensor([[1.0, 2.0]])
    loss = weighted_loss(logprobs, turns, advantages, torch.tensor([[7.0, 3.0, 0.5]]))
    assert loss.item() == 1 * 3 * 1 + 2 * 0.5 * 2
    loss.backward()
    assert logprobs.grad.tolist() == [[0.0, -3.0, -1.0]]


def expected_gradient(policy: torch.Tensor, sampler: torch.Tensor, bound: float) -> torch.Tensor:
    """Over the attempts (of one token) that a stale sampler draws, of the loss's gradient."""
    advantages = torch.tensor([1.0, -0.5, 2.0, 0.25], dtype=torch.float64)
    theta = policy.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for action in range(4):
        logprob = theta.log_softmax(0)[action].view(1, 1)
        drawn = sampler.log_softmax(0)[action].view(1, 1)
        weight = importance_weights(logprob, drawn, bound) if bound else None
        one = weighted_loss(
            logprob, torch.ones(1, 1, dtype=torch.int64), advantages[action].view(1, 1), weight
        )
        total = total + drawn.exp().sum() * one
    return torch.autograd.grad(total, theta)[0]


def test_importance_weights_turn_stale_samples_into_the_gradient_at_the_policy():
    policy, sampler = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)).double()
    wanted = expected_gradient(policy, policy, 0.0)
    torch.testing.assert_close(expected_gradient(policy, sampler, 1e3), wanted, rtol=0, atol=1e-12)
    for other in (0.0, 0.1):  # neither without weights, nor where the bound cuts them all
        found = expected_gradient(policy, sampler, other)
        assert float((found - wanted).abs().max()) > 0.05


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
