"""The estimator against exact enumeration of a tiny two-attempt policy.

Attempt 1 samples two tokens of a vocabulary of two, attempt 2 one token given both. Expected
gradients are sums over all eight episodes, in float64.
"""

import itertools

import pytest
import torch

from score_ray.algorithm.loss import weighted_loss
from score_ray.algorithm.objective import RewardCoefficients, advantages, shaped_rewards

EPISODES = list(itertools.product([0, 1], repeat=3))
TURNS = torch.tensor([[1, 1, 2]] * len(EPISODES))
STAGE_1 = RewardCoefficients(reward=(0.0, 1.0), bonus=0.0, kl=(0.7, 0.3))
STAGE_2 = RewardCoefficients(reward=(1.0, 1.0), bonus=10.0, kl=(0.3, 0.3))


class Policy:
    """Tables of logits: first token, second given the first, third given both."""

    def __init__(self, seed: int):
        make = torch.Generator().manual_seed(seed)
        shapes = [(2,), (2, 2), (2, 2, 2)]
        self.tables = [
            torch.randn(s, generator=make, dtype=torch.float64).requires_grad_() for s in shapes
        ]

    def logprobs(self) -> torch.Tensor:
        """[8, 3]: of every token of every episode."""
        a, b, c = (table.log_softmax(-1) for table in self.tables)
        return torch.stack([torch.stack([a[x], b[x, y], c[x, y, z]]) for x, y, z in EPISODES])


def rewards() -> torch.Tensor:
    make = torch.Generator().manual_seed(7)
    first = {
        pair: float(torch.rand((), generator=make) < 0.5)
        for pair in itertools.product([0, 1], repeat=2)
    }
    first[0, 0], first[1, 1] = 0.0, 1.0
    second = (torch.rand(8, generator=make) < 0.5).double()
    second[0], second[1] = 0.0, 1.0
    return torch.stack([torch.tensor([first[e[:2]] for e in EPISODES]).double(), second], 1)


def setup():
    policy, reference = Policy(0), Policy(1)
    logp = policy.logprobs()
    gaps = logp - reference.logprobs().detach()
    kl = torch.stack([gaps[:, :2].sum(1), gaps[:, 2]], 1)
    return policy, logp, kl


def grads(value, policy):
    return torch.autograd.grad(value, policy.tables, retain_graph=True, allow_unused=True)


def exact(coefficients, policy, logp, kl):
    """Attempt 1's tables from E[own reward - k1 KL1], attempt 2's from E[shaped_2] given y1."""
    r = rewards()
    p = logp.sum(1).exp()
    own = (p * (coefficients.reward[0] * r[:, 0] - coefficients.kl[0] * kl[:, 0])).sum()
    p_fixed_first = logp[:, :2].sum(1).detach().exp() * logp[:, 2].exp()
    gain = coefficients.reward[1] * r[:, 1] + coefficients.bonus * (r[:, 1] - r[:, 0])
    second = (p_fixed_first * (gain - coefficients.kl[1] * kl[:, 1])).sum()
    return [*grads(own, policy)[:2], grads(second, policy)[2]]


@pytest.mark.parametrize("coefficients", [STAGE_1, STAGE_2], ids=["stage 1", "stage 2"])
def test_expected_gradient_is_that_of_the_exact_objective(coefficients):
    policy, logp, kl = setup()
    shaped = shaped_rewards(rewards(), kl.detach(), coefficients)
    p = logp.sum(1).exp().detach()
    loss = weighted_loss(logp, TURNS, shaped * p[:, None])
    for found, wanted in zip(
        grads(-loss, policy), exact(coefficients, policy, logp, kl), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("coefficients", [STAGE_1, STAGE_2], ids=["stage 1", "stage 2"])
def test_leave_one_out_keeps_the_expected_gradient(coefficients):
    policy, logp, kl = setup()
    shaped = shaped_rewards(rewards(), kl.detach(), coefficients)
    p = logp.sum(1).exp().detach()
    loss = torch.zeros((), dtype=torch.float64)
    for i, j in itertools.product(range(8), repeat=2):
        pair = [i, j]
        adv = advantages(shaped[pair], 2)
        loss = loss + p[i] * p[j] * weighted_loss(logp[pair], TURNS[pair], adv) / 2
    for found, wanted in zip(
        grads(-loss, policy), exact(coefficients, policy, logp, kl), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_stage_1_gives_the_first_attempt_exactly_its_kl_gradient():
    policy, logp, kl = setup()
    p = logp.sum(1).exp()
    shaped = shaped_rewards(rewards(), kl.detach(), STAGE_1)
    found = grads(-weighted_loss(logp, TURNS, shaped * p.detach()[:, None]), policy)
    wanted = grads(-STAGE_1.kl[0] * (p * kl[:, 0]).sum(), policy)
    for a, b in zip(found[:2], wanted[:2], strict=True):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_a_kl_of_attempt_1_in_the_reward_of_attempt_2_has_no_gradient_and_ours_is_in_attempt_1():
    policy, logp, kl = setup()
    p = logp.sum(1).exp().detach()
    detached = torch.stack([torch.zeros(8).double(), -0.7 * kl.detach()[:, 0]], 1)
    broken = grads(-weighted_loss(logp, TURNS, detached * p[:, None]), policy)
    assert all(g.abs().max() < 1e-12 for g in broken)
    ours = shaped_rewards(torch.zeros(8, 2).double(), kl.detach(), STAGE_1)
    assert (ours[:, 0] + 0.7 * kl.detach()[:, 0]).abs().max() < 1e-12


def test_stage_1_without_kl_leaves_the_first_attempt_alone():
    shaped = shaped_rewards(
        rewards(), torch.zeros(8, 2).double(), RewardCoefficients((0, 1), 0.0, (0.1, 0.01))
    )
    assert torch.equal(advantages(shaped, 4)[:, 0], torch.zeros(8).double())


@pytest.mark.parametrize(
    ("verdicts", "second"), [((0, 1), 11), ((1, 0), -10), ((1, 1), 1), ((0, 0), 0)]
)
def test_bonus_of_ten_by_hand(verdicts, second):
    shaped = shaped_rewards(torch.tensor([verdicts]).double(), torch.zeros(1, 2), STAGE_2)
    assert shaped.tolist() == [[verdicts[0], second]]


def test_a_third_attempt_is_compared_with_the_second():
    coefficients = RewardCoefficients((1, 1, 1), 10.0, (0, 0, 0))
    assert shaped_rewards(
        torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 3), coefficients
    ).tolist() == [[0, 11, -10]]


def test_kl_is_subtracted_by_hand():
    shaped = shaped_rewards(
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[2.0, 4.0]]),
        RewardCoefficients((1, 1), 0.0, (0.5, 0.25)),
    )
    assert shaped.tolist() == [[0.0, -1.0]]


def test_leave_one_out_by_hand_and_in_its_other_form():
    shaped = torch.tensor([[1.0], [0.0], [0.0], [2.0], [2.0], [2.0]])
    found = advantages(shaped, 3)
    assert found[:, 0].tolist() == [1.0, -0.5, -0.5, 0.0, 0.0, 0.0]
    groups = shaped.view(2, 3)
    other = (groups - groups.mean(1, keepdim=True)) * 3 / 2
    torch.testing.assert_close(found.view(2, 3), other)


def test_a_single_sample_has_no_baseline():
    assert advantages(torch.tensor([[1.0, 2.0]]), 1).tolist() == [[1.0, 2.0]]


def test_rows_that_are_no_groups_are_refused():
    with pytest.raises(ValueError, match="groups of 2"):
        advantages(torch.zeros(3, 2), 2)


def test_coefficients_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 reward coefficients for 1"):
        RewardCoefficients((0, 1), 0.0, (0.1,))
