"""Gives first attempts of the base model as context (arXiv 2409.12917, section 5.3).

For a share of each iteration's problems the first attempt is given: the base model wrote it
before training. The second attempt then learns to correct the base model's mistakes too, even
after the policy's first attempts have become different.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from score_ray.reporting.json_lines import Record
from score_ray.tasks.data_digest import question_hash
from score_ray.training.protocols import EpisodeSampler
from score_ray.types import Problem, RunError, SamplingPlan


def offline_part(problems: Sequence[Problem], share: float) -> Sequence[Problem]:
    """Return the first `share` of an iteration's problems: those with a given first attempt."""
    return problems[: round(share * len(problems))]


def sample_first_attempts(
    pool: EpisodeSampler, problems: Iterable[Problem], plan: SamplingPlan
) -> list[Record]:
    """Sample a first attempt of every distinct problem; return records in order of their index.

    Each has the problem's index, a hash of its question, and the text. The weights being served
    must be the base model's.
    """
    distinct = {problem.index: problem for problem in problems}
    once = replace(plan, samples=1, attempts=1)
    records = [
        {
            "problem": episode.problem.index,
            "question": question_hash(episode.problem.question),
            "text": episode.attempts[0].text,
        }
        for episodes in pool.sample(list(distinct.values()), once)
        for episode in episodes
    ]
    return sorted(records, key=lambda record: record["problem"])


def texts_of(records: Iterable[Record], problems: Iterable[Problem]) -> dict[int, str]:
    """Return the recorded first attempts of problems, by problem index.

    Raises RunError, naming the problem, if one has none, or if the attempt was at another question.
    """
    known = {record["problem"]: record for record in records}
    texts = {}
    for problem in problems:
        record = known.get(problem.index)
        # Records of an older version have no hash.
        if record is None or record.get("question") not in (None, question_hash(problem.question)):
            which = "no first attempt" if record is None else "a first attempt at another question"
            raise RunError(
                f"{problem.place}: the base model's recorded first attempts hold {which} for it; "
                "the training data changed since they were sampled"
            )
        texts[problem.index] = record["text"]
    return texts


def with_given(
    problems: Sequence[Problem], texts: Mapping[int, str], share: float
) -> list[Problem]:
    """Return an iteration's problems, the first `share` of them with a given first attempt.

    If the base model's text is empty, the policy samples the first attempt.
    """
    part = offline_part(problems, share)
    return [*(replace(p, given=texts[p.index]) for p in part), *problems[len(part) :]]
