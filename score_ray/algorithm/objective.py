"""All of SCoRe as arithmetic on an [N, attempts] table (arXiv 2409.12917, eqs. 3 and 4).

A stage is a row of numbers: reward coefficients w, a bonus alpha, KL coefficients k.

    shaped_1 = w_1 r_1                            - k_1 KL_1
    shaped_i = w_i r_i + alpha (r_i - r_{i-1})    - k_i KL_i        i >= 2
    KL_i     = sum over attempt i's tokens of (logp_policy - logp_reference), a number
    adv_i    = shaped_i - mean of shaped_i over the other samples of the problem

Stage I is w = (0, 1), alpha = 0, k = (beta_2, beta_1); Stage II is w = (1, 1), alpha = 10,
k = (beta_1, beta_1). All tokens of an attempt get that attempt's own advantage, and nothing of
what later attempts earn (a discount of 0). So the target is each attempt's own objective, given
the attempts before it. For the first attempt this is not the gradient of the joint objective of
eqs. 3 and 4: that would also pay it for what the second one gains, and so for leaving something
to correct. The KL is subtracted from the reward of the whole attempt, because this gives exactly
the gradient of the objective's KL; a KL loss per token does not.

An attempt whose measurement failed has no reward. It gets no gradient and enters no baseline
(`known_rewards`, `advantages`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RewardCoefficients:
    """The coefficients of a stage: of each attempt's reward, of the bonus, of each attempt's KL.

    Raises ValueError unless `reward` and `kl` have the same number of attempts.
    """

    reward: tuple[float, ...]
    bonus: float
    kl: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.reward) != len(self.kl):
            raise ValueError(
                f"{len(self.reward)} reward coefficients for {len(self.kl)} KL coefficients"
            )


def shaped_rewards(rewards: Tensor, kl: Tensor, coefficients: RewardCoefficients) -> Tensor:
    """Return the shaped reward of each attempt, from [N, A] rewards and KL sums to [N, A]."""
    shaped = rewards * rewards.new_tensor(coefficients.reward)
    shaped = shaped - kl * kl.new_tensor(coefficients.kl)
    gain = rewards[:, 1:] - rewards[:, :-1]
    return torch.cat([shaped[:, :1], shaped[:, 1:] + coefficients.bonus * gain], dim=1)


def known_rewards(is_measured: Tensor, bonus: float) -> Tensor:
    """Return whether the shaped reward of each attempt is known, [N, A] to [N, A].

    The reward of an attempt whose measurement failed is not known. With a bonus its gain and
    that of the attempt after it are not known either.
    """
    if not bonus:
        return is_measured
    return torch.cat([is_measured[:, :1], is_measured[:, 1:] & is_measured[:, :-1]], dim=1)


def advantages(shaped: Tensor, group_size: int, known: Tensor | None = None) -> Tensor:
    """Return shaped rewards less the leave-one-out baseline of each group, [N, A] to [N, A].

    The rows of a group are adjacent. With a group size of 1 there is no baseline. An attempt
    whose shaped reward is not `known` [N, A] gets 0 and enters no baseline: its group is smaller
    by one, and the last one left of a group gets 0, as it has nothing to be compared with. The
    others are scaled up, as `scaled_up` explains. Raises ValueError if the rows do not divide
    into groups.
    """
    if shaped.shape[0] % group_size:
        raise ValueError(f"{shaped.shape[0]} rows are not groups of {group_size}")
    if known is None:
        known = torch.ones_like(shaped, dtype=torch.bool)
    if group_size == 1:
        return scaled_up(shaped, known)
    groups = shaped.view(-1, group_size, shaped.shape[1])  # [P, G, A]
    is_known = known.view_as(groups)
    groups = torch.where(is_known, groups, 0.0)
    num_others = is_known.sum(1, keepdim=True) - 1  # of a known one: the known others
    others = (groups.sum(1, keepdim=True) - groups) / num_others.clamp(min=1)
    compared = is_known & (num_others > 0)
    return scaled_up((groups - others).view_as(shaped), compared.view_as(shaped))


def scaled_up(values: Tensor, learns: Tensor) -> Tensor:
    """Return the values of attempts that learn times N / their number, and 0 for others, [N, A].

    The loss is the sum over all N episodes divided by N. With this factor it is, for each number
    of an attempt by itself, the mean over those that learn. So a batch with failed measurements
    gives the mean gradient of a smaller batch without them, instead of a shorter one whose
    length, and with it the weight against the other attempts, depends on how many failed.
    """
    count = learns.sum(0)
    factor = learns.shape[0] / count.clamp(min=1).to(values.dtype)
    return torch.where(learns, values * factor, 0.0)
