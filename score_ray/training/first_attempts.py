"""First attempts of the base model as prompts for the second (arXiv 2409.12917, section 5.3).

In a share of each iteration's problems the first attempt is given: one that the base model
wrote before training. The second attempt then learns to correct the base model's mistakes
too, after the policy's own first attempts have drifted away from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from score_ray.reporting.run_folder import as_lines, read_jsonl, replace_file
from score_ray.types import Pool, Problem, SamplingPlan


def offline_part(problems: Sequence[Problem], share: float) -> Sequence[Problem]:
    """The problems of an iteration whose first attempt is given: `share` of them, in front."""
    return problems[: round(share * len(problems))]


def draw_first_attempts(
    pool: Pool, problems: Iterable[Problem], plan: SamplingPlan, path: Path
) -> None:
    """Sample a first attempt of every problem, into `path`; once if it comes several times.

    The weights being served must be the base model's.
    """
    distinct = {problem.index: problem for problem in problems}
    once = replace(plan, samples=1, attempts=1)
    texts = {
        episode.problem.index: episode.attempts[0].text
        for episodes in pool.sample(list(distinct.values()), once)
        for episode in episodes
    }
    records = ({"problem": index, "text": texts[index]} for index in sorted(texts))
    replace_file(path, as_lines(records).encode())


def read_first_attempts(path: Path) -> dict[int, str]:
    """What `draw_first_attempts` wrote, by problem index; FileNotFoundError if it is gone."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the base model's first attempts are missing")
    return {record["problem"]: record["text"] for record in read_jsonl(path)}


def with_given(
    problems: Sequence[Problem], texts: Mapping[int, str], share: float
) -> list[Problem]:
    """The problems of an iteration with their given first attempts; an empty one is drawn."""
    part = offline_part(problems, share)
    return [*(replace(p, given=texts[p.index]) for p in part), *problems[len(part) :]]
