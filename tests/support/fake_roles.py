"""Fakes of the trainer's roles, and a run with them.

`Coin` is pool, learner and channel at once. Its policy is two numbers, of which the engine's
copy is set at every broadcast. `Inline` is the grader.
"""

from pathlib import Path

import numpy as np
import torch

from score_ray.config.loading import load
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import RunFolder
from score_ray.rollout.episodes import sample
from score_ray.rollout.prompter import Prompter
from score_ray.tasks.arithmetic_model import character_tokenizer
from score_ray.tasks.prompts import Prompts
from score_ray.training.protocols import Roles
from score_ray.training.trainer import Trainer
from score_ray.types import (
    BroadcastResult,
    Completion,
    Finish,
    GradedEpisode,
    Problem,
    UpdateResult,
    Verdict,
)

PROBLEMS = [Problem(i, f"{i}+1=", "5") for i in range(10)]


class Coin:
    """A policy of one number per attempt: the logit of answering 5 rather than 4."""

    def __init__(self):
        self.logits = self.served = torch.zeros(2, dtype=torch.float64)
        self.version, self.log = 0, []

    def logprobs(self) -> torch.Tensor:
        return torch.stack([torch.zeros(2), self.served], 1).log_softmax(1)  # [attempt, answer]

    # the engine
    def add(self, request):
        attempt = min(1, int(request.key[-1]))  # later ones answer as the second does
        rng = np.random.default_rng(request.seed)
        right = float(self.logprobs()[attempt, 1].exp())
        answer = int(self.served[attempt] > 0 if request.temperature == 0 else rng.random() < right)
        logprob = float(self.logprobs()[attempt, answer])
        self.waiting.append(
            Completion(request.key, (4 + answer,), (logprob,), str(4 + answer), Finish.STOP)
        )

    def step(self):
        ended, self.waiting = self.waiting, []
        return ended

    # the pool
    def sample(self, problems, plan):
        self.log.append("sample")
        self.waiting: list[Completion] = []
        yield from sample(
            self, Prompter(character_tokenizer(), Prompts("{question}", "?")), problems, plan
        )

    # the learner
    def reference_sums(self, rows, num_attempts):
        self.log.append("reference")
        return np.full((len(rows), num_attempts), np.log(0.5))

    def update(self, rows, advantages, iteration):
        self.log.append("update")
        logits = self.logits.clone().requires_grad_()
        logprobs = torch.stack([torch.zeros(2), logits], 1).log_softmax(1)
        loss = torch.zeros((), dtype=torch.float64)
        for row, weight in zip(rows, advantages, strict=True):
            for turn in {1, 2} & set(row.turn_ids):
                answer = row.token_ids[row.turn_ids.index(turn)] - 4
                loss = loss - weight[turn - 1] * logprobs[turn - 1, answer]
        (loss / len(rows)).backward()
        self.logits = self.logits - 2.0 * logits.grad
        return UpdateResult(float(loss.detach()), 0.0, 0.0, 0.0, grad_norm=0.0, learning_rate=2.0)

    def save(self, folder):
        self.log.append("save")
        torch.save(self.logits, folder / "logits.pt")

    def take_restarts(self):
        return 0

    def restore(self, folder):
        self.log.append("restore")
        self.logits = torch.load(folder / "logits.pt")

    def restart(self, lost):
        self.log.append(f"restart after {lost}")
        self.logits = torch.zeros(2, dtype=torch.float64)

    def export(self, folder):
        self.log.append("export")

    # the channel
    def broadcast(self, version):
        self.log.append(f"broadcast {version}")
        self.version, self.served = version, self.logits
        return BroadcastResult(mismatch=0.0, engines=1, seconds=0.0)


class Inline:
    """A grader without processes, for which 5 is the right answer."""

    def __init__(self):
        self.graded, self.fault = [], ""

    def submit(self, episodes):
        for e in episodes:
            verdicts = (Verdict.CORRECT if a.text == "5" else Verdict.WRONG for a in e.attempts)
            self.graded.append(GradedEpisode.by_verdict(e, verdicts))

    def collect(self):
        graded, self.graded = self.graded, []
        return graded

    def forget(self):
        self.graded = []


def run(folder, saved=None, coin=None, stages=(6, 6), more=(), held_out=()):
    """Train with fakes, from a saved checkpoint or from the base model; return the policy."""
    coin = coin or Coin()
    config = load(
        Path("configs/arithmetic.yaml"),
        ["rollout.problems=5", "rollout.samples=8", "evaluation.problems=4", "checkpoint.every=5",
         *(f"stages.{i}.iterations={n}" for i, n in enumerate(stages)), *more],
    )  # fmt: skip
    start = saved.progress.iteration if saved else 0
    reporter = Reporter(RunFolder(folder), config.iterations, start, quiet=True)
    roles = Roles(PROBLEMS, held_out, PROBLEMS, coin, Inline(), coin, coin, reporter)
    Trainer(roles, config, RunFolder(folder)).train(saved)
    return coin


def metrics(folder):
    """Return the records of metrics.jsonl without times."""
    return [
        {k: v for k, v in r.items() if not k.startswith("time/")}
        for r in RunFolder(folder).metrics()
    ]
