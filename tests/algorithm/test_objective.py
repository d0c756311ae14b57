"""The estimator against exact enumeration of a tiny two-attempt policy.

Attempt 1 samples two tokens of a vocabulary of two, attempt 2 one token given both. Expected
gradients are sums over all eight episodes, in float64.
"""

import itertools

import pytest
import torch

from score_ray.algorithm.loss import weighted_loss
from score_ray.algorithm.objective import (
    RewardCoefficients,
    advantages,
    known_rewards,
    shaped_rewards,
)

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


def test_without_failures_a_mask_changes_no_bit():
    make = torch.Generator().manual_seed(3)
    for group_size in (1, 2, 3, 4, 7):
        shaped = torch.randn(84, 2, generator=make, dtype=torch.float64) * 10
        groups = shaped.view(-1, group_size, 2)
        others = (groups.sum(1, keepdim=True) - groups) / (group_size - 1)
        plain = shaped if group_size == 1 else (groups - others).view_as(shaped)
        everything = torch.ones(84, 2, dtype=torch.bool)
        assert torch.equal(advantages(shaped, group_size), plain)
        assert torch.equal(advantages(shaped, group_size, everything), plain)


@pytest.mark.parametrize(
    ("bonus", "known"),
    [
        (0.0, [[True, False, True], [False, True, True], [True, True, False]]),
        # A gain needs both rewards, so a failure also takes the attempt after it.
        (10.0, [[True, False, False], [False, False, True], [True, True, False]]),
    ],
)
def test_a_shaped_reward_is_known_if_all_rewards_in_it_are(bonus, known):
    is_measured = torch.tensor([[True, False, True], [False, True, True], [True, True, False]])
    assert known_rewards(is_measured, bonus).tolist() == known


def test_a_failed_measurement_leaves_its_group_by_hand():
    """Groups of 3 of one attempt each; 6 rows, of which the failed ones are marked by 99.

    Group 1 is 4, 1, failed: each is compared with the other one, 4 - 1 and 1 - 4. Group 2 is
    whole: 6 - (0 + 3) / 2, 0 - (6 + 3) / 2, 3 - (6 + 0) / 2. 5 of 6 learn.
    """
    shaped = torch.tensor([[4.0], [1.0], [99.0], [6.0], [0.0], [3.0]]).double()
    known = shaped != 99
    expected = [3 * 6 / 5, -3 * 6 / 5, 0, 4.5 * 6 / 5, -4.5 * 6 / 5, 0]
    assert advantages(shaped, 3, known)[:, 0].tolist() == pytest.approx(expected, abs=1e-12)


def test_the_last_one_left_of_a_group_learns_nothing():
    """Group 1 is 4, failed, failed. 3 of 6 learn, so that theirs are doubled."""
    shaped = torch.tensor([[4.0], [99.0], [99.0], [6.0], [0.0], [3.0]]).double()
    found = advantages(shaped, 3, shaped != 99)
    assert found[:, 0].tolist() == [0.0, 0.0, 0.0, 9.0, -9.0, 0.0]


def test_a_group_without_any_measurement_and_a_batch_without_any_learn_nothing():
    shaped = torch.tensor([[99.0], [99.0], [2.0], [1.0]]).double()
    assert advantages(shaped, 2, shaped != 99)[:, 0].tolist() == [0.0, 0.0, 2.0, -2.0]
    nothing = torch.zeros(4, 1, dtype=torch.bool)
    for group_size in (1, 2):
        assert advantages(shaped, group_size, nothing)[:, 0].tolist() == [0.0] * 4


def test_a_single_sample_whose_measurement_failed_leaves_the_others_as_they_are():
    """3 of 4 learn: the mean over those three is 4/3 of each divided by 4."""
    shaped = torch.tensor([[1.0, 5.0], [99.0, 0.0], [0.0, 2.0], [3.0, 3.0]]).double()
    found = advantages(shaped, 1, shaped != 99)
    assert found[:, 0].tolist() == pytest.approx([4 / 3, 0.0, 0.0, 4.0])
    assert found[:, 1].tolist() == [5.0, 0.0, 2.0, 3.0]


def test_each_attempt_has_its_own_group_by_hand():
    """Two attempts, three samples, bonus 10: rewards (0, 1), (1, failed), (failed, 1).

    Attempt 1 has 0 and 1: -1 and 1, times 3/2. Attempt 2 has a known gain in the first sample
    alone, so that nothing is left to compare it with.
    """
    is_measured = torch.tensor([[True, True], [True, False], [False, True]])
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]).double()
    stage_2 = RewardCoefficients((1.0, 1.0), 10.0, (0.0, 0.0))
    shaped = shaped_rewards(rewards, torch.zeros(3, 2).double(), stage_2)
    found = advantages(shaped, 3, known_rewards(is_measured, 10.0))
    assert found.tolist() == [[-1.5, 0.0], [1.5, 0.0], [0.0, 0.0]]


def test_three_attempts_by_hand():
    """Two groups of two, bonus 2, all coefficients 1; the second attempt of row 0 failed.

    Shaped rewards: row 0 (1, ?, ?), row 1 (0, 1 + 2, 1 + 0), row 2 (1, 1 + 0, 0 - 2), row 3
    (0, 0, 1 + 2). So attempts 2 and 3 learn from rows 2 and 3 alone, and count twice.
    """
    rewards = torch.tensor([[1.0, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]]).double()
    is_measured = torch.ones(4, 3, dtype=torch.bool)
    is_measured[0, 1] = False
    coefficients = RewardCoefficients((1.0, 1.0, 1.0), 2.0, (0.0, 0.0, 0.0))
    shaped = shaped_rewards(rewards, torch.zeros(4, 3).double(), coefficients)
    found = advantages(shaped, 2, known_rewards(is_measured, 2.0))
    assert found.tolist() == [[1, 0, 0], [-1, 0, 0], [1, 2, -10], [-1, -2, 10]]


@pytest.mark.parametrize("coefficients", [STAGE_1, STAGE_2], ids=["stage 1", "stage 2"])
def test_failures_that_do_not_depend_on_the_answer_keep_the_direction_of_the_gradient(coefficients):
    """All triples of episodes, and all ways in which their six measurements can fail.

    Each fails with probability .3. The expected gradient of an attempt is the exact one times the
    probability that at least two of its three shaped rewards are known.
    """
    policy, logp, kl = setup()
    shaped = shaped_rewards(rewards(), kl.detach(), coefficients)
    p = logp.sum(1).exp().detach()
    triples = torch.tensor(list(itertools.product(range(8), repeat=3)))
    rows = triples.flatten()
    chance = p[triples].prod(1).repeat_interleave(3)[:, None]
    weights = torch.zeros(len(rows), 2, dtype=torch.float64)
    for mask in itertools.product([True, False], repeat=6):
        is_measured = torch.tensor(mask).view(3, 2)
        known = known_rewards(is_measured, coefficients.bonus).repeat(len(triples), 1)
        likely = 0.7 ** sum(mask) * 0.3 ** (6 - sum(mask))
        weights += likely * chance * advantages(shaped[rows], 3, known) / 3
    loss = weighted_loss(logp[rows], TURNS[:1].expand(len(rows), 3), weights)

    def two_of_three(q: float) -> float:
        return 3 * q**2 * (1 - q) + q**3

    learns = two_of_three(0.7), two_of_three(0.49 if coefficients.bonus else 0.7)
    wanted = exact(coefficients, policy, logp, kl)
    for found, whole, factor in zip(
        grads(-loss, policy), wanted, (learns[0], learns[0], learns[1]), strict=True
    ):
        torch.testing.assert_close(found, factor * whole, rtol=0, atol=1e-12)
