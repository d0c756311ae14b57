"""Gives first attempts of the base model as context (arXiv 2409.12917, section 5.3).

For a share of each iteration's problems the first attempt is given: the base model wrote it
before training. The second attempt then learns to correct the base model's mistakes too, even
after the policy's first attempts have become different.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from score_ray.training.protocols import EpisodeSampler
from score_ray.types import Problem, SamplingPlan


def offline_part(problems: Sequence[Problem], share: float) -> Sequence[Problem]:
    """Return the first `share` of an iteration's problems: those with a given first attempt."""
    return problems[: round(share * len(problems))]


def sample_first_attempts(
    pool: EpisodeSampler, problems: Iterable[Problem], plan: SamplingPlan
) -> dict[int, str]:
    """Sample a first attempt of every distinct problem; return the texts by problem index.

    The weights being served must be the base model's.
    """
    distinct = {problem.index: problem for problem in problems}
    once = replace(plan, samples=1, attempts=1)
    return {
        episode.problem.index: episode.attempts[0].text
        for episodes in pool.sample(list(distinct.values()), once)
        for episode in episodes
    }


def with_given(
    problems: Sequence[Problem], texts: Mapping[int, str], share: float
) -> list[Problem]:
    """Return an iteration's problems, the first `share` of them with a given first attempt.

    If the base model's text is empty, the policy samples the first attempt.
    """
    part = offline_part(problems, share)
    return [*(replace(p, given=texts[p.index]) for p in part), *problems[len(part) :]]
