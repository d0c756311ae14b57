"""First attempts of the base model as prompts for the second (arXiv 2409.12917, section 5.3).

In a share of each iteration's problems the first attempt is given: one that the base model
wrote before training. The second attempt then learns to correct the base model's mistakes
too, after the policy's own first attempts have drifted away from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from score_ray.types import Pool, Problem, SamplingPlan


def offline_part(problems: Sequence[Problem], share: float) -> Sequence[Problem]:
    """The problems of an iteration whose first attempt is given: `share` of them, in front."""
    return problems[: round(share * len(problems))]


def draw_first_attempts(
    pool: Pool, problems: Iterable[Problem], plan: SamplingPlan
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
    """The problems of an iteration with their given first attempts; an empty one is drawn."""
    part = offline_part(problems, share)
    return [*(replace(p, given=texts[p.index]) for p in part), *problems[len(part) :]]
