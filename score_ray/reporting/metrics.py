"""Turns typed results into records of metrics.jsonl and evals.jsonl, and back.

Only this module knows the keys of these files. The key of an attempt's metric ends in _t1, _t2, ...
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile

from score_ray.algorithm.metrics import (
    Accuracies,
    EpisodeStatistics,
    failed_shares,
    measure_accuracies,
)
from score_ray.reporting.edit_distance import mean_edit_ratio
from score_ray.reporting.json_lines import Record
from score_ray.types import BroadcastResult, GradedEpisode, UpdateResult, Verdict

TRANSFER = "weights"  # the phase, within the broadcast, in which weights are transferred


@dataclass(frozen=True, slots=True)
class StepResult:
    """The measures of one iteration."""

    iteration: int
    stage: str
    version: int  # of the weights that the engines serve afterwards
    stale: int  # updates by which the sampled weights were behind the policy
    accuracies: Accuracies
    episodes: EpisodeStatistics
    kl: tuple[float, ...]  # mean of each attempt's log-ratio to the reference, in nats
    kl_coefficients: tuple[float, ...]
    update: UpdateResult
    broadcast: BroadcastResult | None  # None if the engines kept their weights
    rollout_restarts: int
    learner_restarts: int
    trained_rows: int  # 0 if all advantages are 0
    trained_tokens: int
    seconds: Mapping[str, float]  # by phase; "iteration" is the whole

    @property
    def num_attempts(self) -> int:
        """Number of attempts of an episode."""
        return len(self.accuracies.per_attempt)

    @property
    def attempts(self) -> range:
        """The numbers of an episode's attempts, from 1."""
        return range(1, self.num_attempts + 1)

    @property
    def all_seconds(self) -> dict[str, float]:
        """Seconds by phase, with those of the weight transfer, which is a part of the broadcast."""
        # Runs of an older version did not record the seconds of the transfer.
        transfer = self.broadcast.seconds if self.broadcast else math.nan
        return {**({} if math.isnan(transfer) else {TRANSFER: transfer}), **self.seconds}


def value_at(values: Sequence[float], attempt: int) -> float:
    """Return the value of an attempt, counted from 1; nan if there are fewer."""
    return values[attempt - 1] if attempt <= len(values) else math.nan


def step_record(result: StepResult) -> Record:
    """Return an iteration's record in metrics.jsonl."""
    accuracies = result.accuracies
    return {
        "iteration": result.iteration,
        "stage": result.stage,
        "version": result.version,
        "stale": result.stale,
        **_numbered("train/acc_t", accuracies.per_attempt),
        "train/delta": accuracies.delta,
        "train/i_to_c": accuracies.i_to_c,
        "train/c_to_i": accuracies.c_to_i,
        "train/changed": accuracies.changed,
        **_episode_items(result.episodes),
        **_numbered("kl/t", result.kl),
        **_numbered("kl_coef/t", result.kl_coefficients),
        **_update_items(result.update),
        **(_broadcast_items(result.broadcast) if result.broadcast else {}),
        "restarts/rollout": result.rollout_restarts,
        "restarts/learner": result.learner_restarts,
        "rows/trained": result.trained_rows,
        "tokens/trained": result.trained_tokens,
        **{f"time/{phase}": seconds for phase, seconds in result.seconds.items()},
    }


def step_result(record: Record) -> StepResult:
    """Return the result that a record of metrics.jsonl holds.

    A record of an older version may lack metrics: counts are 0 then, and other numbers nan.
    """
    iteration = record["iteration"]
    return StepResult(
        iteration=iteration,
        stage=record["stage"],
        version=record.get("version", iteration + 1),
        stale=record.get("stale", 0),
        accuracies=_read_accuracies(record),
        episodes=_read_episodes(record),
        kl=_values(record, "kl/t"),
        kl_coefficients=_values(record, "kl_coef/t"),
        update=_read_update(record),
        broadcast=_read_broadcast(record),
        rollout_restarts=record.get("restarts/rollout", 0),
        learner_restarts=record.get("restarts/learner", 0),
        trained_rows=record.get("rows/trained", 0),
        trained_tokens=record.get("tokens/trained", 0),
        seconds={
            key.removeprefix("time/"): value
            for key, value in record.items()
            if key.startswith("time/") and key != f"time/{TRANSFER}"
        },
    )


def eval_record(graded: Sequence[GradedEpisode], iteration: int, task: str, split: str) -> Record:
    """Return a record of evals.jsonl: an evaluation taken after `iteration` updates.

    With a single attempt acc_t2 is acc_t1, which keeps delta = acc_t2 - acc_t1; attempts
    beyond the second add acc_t3 and so on. Where measurements failed, failed_t1 and so on are
    their shares. Raises ValueError as `measure_accuracies` does.
    """
    accuracies, failed = measure_accuracies(graded), failed_shares(graded)
    per_attempt = accuracies.per_attempt
    return {
        "iteration": iteration,
        "task": task,
        "split": split,
        "n": len(graded),
        "acc_t1": per_attempt[0],
        "acc_t2": per_attempt[min(1, len(per_attempt) - 1)],
        "delta": accuracies.delta,
        "i_to_c": accuracies.i_to_c,
        "c_to_i": accuracies.c_to_i,
        "changed": accuracies.changed,
        "edit_ratio": mean_edit_ratio(graded),
        **{f"acc_t{i}": value for i, value in enumerate(per_attempt, 1) if i > 2},
        **(_numbered("failed_t", failed) if any(failed) else {}),
    }


def evaluated_accuracies(record: Record) -> tuple[float, ...]:
    """Return the accuracy per attempt of a record of evals.jsonl."""
    return _values(record, "acc_t")


def evaluated_failures(record: Record) -> tuple[float, ...]:
    """Return the share of failed measurements per attempt of a record of evals.jsonl.

    It is empty if none failed.
    """
    return _values(record, "failed_t")


def failures_text(shares: Sequence[float]) -> str:
    """Return shares of failed measurements per attempt as text; "" if they are all 0."""
    failed = [f"t{i} {share:.1%}" for i, share in enumerate(shares, 1) if share]
    return f"failed measurements: {', '.join(failed)}" if failed else ""


def _numbered(prefix: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{prefix}{i}": value for i, value in enumerate(values, 1)}


def _values(record: Record, prefix: str) -> tuple[float, ...]:
    """Return the values of the keys `prefix` + 1, 2, ... as long as the record has them."""
    keys = takewhile(lambda key: key in record, (f"{prefix}{i}" for i in count(1)))
    return tuple(record[key] for key in keys)


def _episode_items(episodes: EpisodeStatistics) -> Record:
    items: Record = {}
    pairs = zip(episodes.truncated, episodes.rewards, strict=True)
    for i, (truncated, reward) in enumerate(pairs, 1):
        items |= {f"train/truncated_t{i}": truncated, f"train/reward_t{i}": reward}
    items |= _numbered("train/flat_t", episodes.flat)
    items["tokens/sampled"] = episodes.sampled_tokens
    for i, counts in enumerate(episodes.verdicts, 1):
        items |= {f"verdict/{verdict.value}_t{i}": n for verdict, n in counts.items()}
    return items


def _update_items(update: UpdateResult) -> Record:
    bounded = {} if update.truncated is None else {"mismatch/truncated": update.truncated}
    return {
        "loss": update.loss,
        **bounded,
        "mismatch/sampled_mean_abs": update.mismatch_mean_abs,
        "mismatch/sampled_max_abs": update.mismatch_max_abs,
        "mismatch/kl": update.mismatch_kl,
        "grad_norm": update.grad_norm,
        "lr": update.learning_rate,
    }


def _broadcast_items(broadcast: BroadcastResult) -> Record:
    return {
        "mismatch/logp_mean_abs": broadcast.mismatch,
        "weights/checked": broadcast.engines,
        f"time/{TRANSFER}": broadcast.seconds,
    }


def _read_accuracies(record: Record) -> Accuracies:
    names = ("delta", "i_to_c", "c_to_i", "changed")
    changes = [record.get(f"train/{name}", math.nan) for name in names]
    return Accuracies(_values(record, "train/acc_t"), *changes)


def _read_episodes(record: Record) -> EpisodeStatistics:
    verdicts = []
    for i in range(1, len(_values(record, "train/acc_t")) + 1):
        counts = {verdict: record.get(f"verdict/{verdict.value}_t{i}", 0) for verdict in Verdict}
        verdicts.append({verdict: n for verdict, n in counts.items() if n})
    return EpisodeStatistics(
        truncated=_values(record, "train/truncated_t"),
        rewards=_values(record, "train/reward_t"),
        flat=_values(record, "train/flat_t"),
        sampled_tokens=record.get("tokens/sampled", 0),
        verdicts=tuple(verdicts),
    )


def _read_update(record: Record) -> UpdateResult:
    return UpdateResult(
        # A missing loss or gradient norm must not raise the alarm for one that is not finite.
        loss=record.get("loss", 0.0),
        mismatch_mean_abs=record.get("mismatch/sampled_mean_abs", math.nan),
        mismatch_max_abs=record.get("mismatch/sampled_max_abs", math.nan),
        mismatch_kl=record.get("mismatch/kl", math.nan),
        grad_norm=record.get("grad_norm", 0.0),
        learning_rate=record.get("lr", math.nan),
        truncated=record.get("mismatch/truncated"),
    )


def _read_broadcast(record: Record) -> BroadcastResult | None:
    if "weights/checked" not in record:
        return None
    return BroadcastResult(
        record.get("mismatch/logp_mean_abs", math.nan),
        record["weights/checked"],
        record.get(f"time/{TRANSFER}", math.nan),
    )
