"""What graded episodes say: accuracy per attempt, and what the second attempt changed.

Every rate is a fraction of all episodes, so that delta = acc_t2 - acc_t1 = i_to_c - c_to_i.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from score_ray.types import Finish, GradedEpisode, Verdict


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy per attempt, and attempt 2 compared with attempt 1 (0.0 if there is only one).

    `i_to_c` and `c_to_i` are the shares that went from incorrect to correct and back;
    `changed` the share with another text, white space at the ends aside.
    """

    n: int
    acc: tuple[float, ...]
    i_to_c: float
    c_to_i: float
    delta: float
    changed: float
    edit_ratio: float


def accuracy(graded: Sequence[GradedEpisode]) -> Accuracy:
    """Measure a set of episodes.

    Raises ValueError if there are none, or if they differ in their number of attempts.
    """
    n, attempts = len(graded), attempts_of(graded)
    acc = tuple(sum(g.verdicts[i] is Verdict.CORRECT for g in graded) / n for i in range(attempts))
    if attempts == 1:
        return Accuracy(n, acc, 0.0, 0.0, 0.0, 0.0, 0.0)
    flips = Counter((g.verdicts[0].reward, g.verdicts[1].reward) for g in graded)
    texts = [(g.episode.attempts[0].text, g.episode.attempts[1].text) for g in graded]
    return Accuracy(
        n=n,
        acc=acc,
        i_to_c=flips[0.0, 1.0] / n,
        c_to_i=flips[1.0, 0.0] / n,
        # Counts are subtracted before the division, so that equal flips give exactly 0.
        delta=(flips[0.0, 1.0] - flips[1.0, 0.0]) / n,
        changed=sum(a.strip() != b.strip() for a, b in texts) / n,
        edit_ratio=sum(edit_ratio(a, b) for a, b in texts) / n,
    )


def attempts_of(graded: Sequence[GradedEpisode]) -> int:
    """The number of attempts that all episodes have.

    Raises ValueError if there are no episodes, or if they differ in it.
    """
    counts = {len(g.verdicts) for g in graded}
    if not counts:
        raise ValueError("no episodes to measure")
    if len(counts) > 1 or 0 in counts:
        raise ValueError(f"episodes need one and the same number of attempts, not {counts}")
    return counts.pop()


def edit_ratio(a: str, b: str) -> float:
    """Levenshtein distance of two texts over the sum of their lengths; 0.0 if both are empty."""
    return Levenshtein.distance(a, b) / (len(a) + len(b)) if a or b else 0.0


def episode_metrics(graded: Sequence[GradedEpisode]) -> dict[str, float]:
    """The metrics of an iteration's episodes, under their names in metrics.jsonl.

    Per attempt: accuracy, mean reward, share cut at the token limit, and the count of every
    verdict that occurred. Accuracies are of episodes that the policy wrote alone, where there
    are any: a first attempt that was given says nothing about it. Raises ValueError as
    `accuracy` does.
    """
    own = [g for g in graded if not g.episode.attempts[0].given]
    found = accuracy(own or graded)
    metrics = {f"train/acc_t{i}": value for i, value in enumerate(found.acc, 1)}
    for name in ("delta", "i_to_c", "c_to_i", "changed"):
        metrics[f"train/{name}"] = getattr(found, name)
    for i in range(len(found.acc)):
        cut = sum(g.episode.attempts[i].finish is Finish.LENGTH for g in graded)
        metrics[f"train/truncated_t{i + 1}"] = cut / len(graded)
        metrics[f"train/reward_t{i + 1}"] = sum(g.rewards[i] for g in graded) / len(graded)
    metrics |= {f"train/flat_t{i + 1}": share for i, share in enumerate(flat_shares(graded))}
    metrics["tokens/sampled"] = sum(
        len(a.completion_ids) for g in graded for a in g.episode.attempts if not a.given
    )
    for i in range(len(found.acc)):
        counts = Counter(g.verdicts[i] for g in graded)
        metrics |= {f"verdict/{v.value}_t{i + 1}": counts[v] for v in Verdict if counts[v]}
    return metrics


def flat_shares(graded: Sequence[GradedEpisode]) -> list[float]:
    """Per attempt the share of groups whose rewards are all equal: they teach nothing.

    Empty where no problem has several samples.
    """
    groups: dict[int, list[tuple[float, ...]]] = {}
    for g in graded:
        groups.setdefault(g.episode.problem.index, []).append(g.rewards)
    compared = [rewards for rewards in groups.values() if len(rewards) > 1]
    attempts = len(graded[0].rewards) if compared else 0
    return [
        sum(len({r[i] for r in rewards}) == 1 for rewards in compared) / len(compared)
        for i in range(attempts)
    ]


def eval_record(
    graded: Sequence[GradedEpisode], iteration: int, task: str, split: str
) -> dict[str, float | int | str]:
    """A line of evals.jsonl: an evaluation taken after `iteration` updates.

    With a single attempt acc_t2 is acc_t1, which keeps delta = acc_t2 - acc_t1; attempts
    beyond the second add acc_t3 and so on. Raises ValueError as `accuracy` does.
    """
    found = accuracy(graded)
    return {
        "iteration": iteration,
        "task": task,
        "split": split,
        "n": found.n,
        "acc_t1": found.acc[0],
        "acc_t2": found.acc[min(1, len(found.acc) - 1)],
        "delta": found.delta,
        "i_to_c": found.i_to_c,
        "c_to_i": found.c_to_i,
        "changed": found.changed,
        "edit_ratio": found.edit_ratio,
        **{f"acc_t{i}": value for i, value in enumerate(found.acc, 1) if i > 2},
    }
