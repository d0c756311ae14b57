"""What an evaluation and a training iteration say about attempts: pure arithmetic.

All rates are fractions of all episodes, so delta = i_to_c - c_to_i = acc_t2 - acc_t1.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from score_ray.types import Finish, GradedEpisode, Verdict


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of every attempt, and what became of the first one in the second."""

    n: int
    acc: tuple[float, ...]
    i_to_c: float
    c_to_i: float
    delta: float
    changed: float
    edit_ratio: float


def accuracy(graded: Sequence[GradedEpisode]) -> Accuracy:
    """Accuracies and transition rates; with a single attempt the rates are 0."""
    n = len(graded)
    right = [[v is Verdict.CORRECT for v in g.verdicts] for g in graded]
    acc = tuple(sum(column) / n for column in zip(*right, strict=True))
    pairs = [r for r in right if len(r) > 1]
    texts = [
        (g.episode.attempts[0].text.strip(), g.episode.attempts[1].text.strip())
        for g in graded
        if len(g.verdicts) > 1
    ]
    i_to_c = sum(not r[0] and r[1] for r in pairs) / n
    c_to_i = sum(r[0] and not r[1] for r in pairs) / n
    return Accuracy(
        n=n,
        acc=acc,
        i_to_c=i_to_c,
        c_to_i=c_to_i,
        delta=i_to_c - c_to_i,
        changed=sum(a != b for a, b in texts) / n,
        edit_ratio=sum(edit_ratio(a, b) for a, b in texts) / n,
    )


def edit_ratio(first: str, second: str) -> float:
    """Edit distance over the length of both texts (arXiv 2409.12917, section 4)."""
    length = len(first) + len(second)
    return Levenshtein.distance(first, second) / length if length else 0.0


def episode_metrics(graded: Sequence[GradedEpisode]) -> dict[str, float]:
    """The `train/*`, `verdict/*` and `tokens/sampled` entries of metrics.jsonl."""
    found = accuracy(graded)
    attempts = list(zip(*(g.episode.attempts for g in graded), strict=True))
    verdicts = list(zip(*(g.verdicts for g in graded), strict=True))
    counts = {
        f"verdict/{verdict}_t{i}": float(count)
        for i, column in enumerate(verdicts, start=1)
        for verdict, count in sorted(Counter(column).items())
    }
    return {
        **{f"train/acc_t{i}": value for i, value in enumerate(found.acc, start=1)},
        "train/delta": found.delta,
        "train/i_to_c": found.i_to_c,
        "train/c_to_i": found.c_to_i,
        "train/changed": found.changed,
        **{
            f"train/truncated_t{i}": sum(a.finish is Finish.LENGTH for a in column) / len(column)
            for i, column in enumerate(attempts, start=1)
        },
        **counts,
        "tokens/sampled": float(sum(len(a.completion_ids) for column in attempts for a in column)),
    }


def eval_record(
    graded: Sequence[GradedEpisode], iteration: int, task: str, split: str
) -> dict[str, float | int | str]:
    """A line of evals.jsonl; `iteration` updates have been made."""
    found = accuracy(graded)
    return {
        "iteration": iteration,
        "task": task,
        "split": split,
        "n": found.n,
        **{f"acc_t{i}": value for i, value in enumerate(found.acc, start=1)},
        "delta": found.delta,
        "i_to_c": found.i_to_c,
        "c_to_i": found.c_to_i,
        "changed": found.changed,
        "edit_ratio": found.edit_ratio,
    }
