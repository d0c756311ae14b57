"""The types that all rooms share: the data that passes between them, and the errors of a run.

    Problem -> Attempt, Attempt -> Episode -> GradedEpisode -> (algorithm/batch.py) Row

The dataclasses are frozen. The module imports only the standard library, so that every process
of a run can load it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class ConfigError(ValueError):
    """A config that cannot be run; the message names the key and what would be right."""


class RunError(RuntimeError):
    """A run that cannot go on; the message says why, in words for the person who started it."""


class ProcessLost(RuntimeError):
    """The loss of a process of the run: `who` was lost, while `doing` what, and `how` it showed."""

    def __init__(self, who: str, doing: str, how: str) -> None:
        super().__init__(f"{who}: {how} while {doing}")
        self.who, self.doing, self.how = who, doing, how


class LearnerLost(ProcessLost):
    """The loss of a learner rank, and with it of the training state of all ranks."""


class PeerLost(RuntimeError):
    """The failure of another process to deliver what this one waits for."""


class Finish(StrEnum):
    """The reason why an attempt ended."""

    STOP = "stop"  # the model ended it with a stop token
    LENGTH = "length"  # it was cut at the token limit


class Verdict(StrEnum):
    """The grader's judgement of an attempt; every value is counted in the metrics."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"  # nothing in the text could be read as an answer
    TRUNCATED = "truncated"  # cut at the token limit, and not correct as it stands
    # In the last two the measurement failed, which says nothing about the attempt. A program
    # that runs too long is WRONG: it was measured.
    TIMEOUT = "timeout"  # the grader did not finish within its deadline
    GRADER_ERROR = "grader_error"  # the grader itself failed

    @property
    def is_measured(self) -> bool:
        """Whether the grader came to a judgement."""
        return self not in (Verdict.TIMEOUT, Verdict.GRADER_ERROR)

    @property
    def reward(self) -> float:
        """Reward of the verdict: 1.0 if correct, 0.0 if not, NaN if nothing was measured."""
        if not self.is_measured:
            return math.nan
        return 1.0 if self is Verdict.CORRECT else 0.0

    def after(self, finish: Finish) -> "Verdict":
        """Return TRUNCATED for a WRONG or NO_ANSWER attempt that was cut, else this verdict."""
        failed = self in (Verdict.WRONG, Verdict.NO_ANSWER)
        return Verdict.TRUNCATED if failed and finish is Finish.LENGTH else self


@dataclass(frozen=True, slots=True)
class Problem:
    """A question and its gold answer; `index` tells it apart from all others of its split.

    If `given` is not empty, it is the first attempt of every episode: context to correct, not
    sampled from the policy. `level` names the difficulty, where that is known. `source` names the
    data set that it was read from, "" for a generated problem, and `row` its row there, counted
    from 0; two problems may be equal without these.
    """

    index: int
    question: str
    answer: str
    given: str = ""
    level: str = ""
    source: str = field(default="", compare=False)
    row: int = field(default=0, compare=False)

    @property
    def place(self) -> str:
        """Name the problem in a message: by data set and row, or by index if it was generated."""
        return f"{self.source}: row {self.row}" if self.source else f"problem {self.index}"


@dataclass(frozen=True, slots=True)
class UnusableRow:
    """A row of a data set that is no problem, and why; rows are counted from 0."""

    source: str
    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One completion of the model, kept as token ids; the text is decoded from them.

    `logprobs` are the sampler's log-probabilities of `completion_ids`; `version` is the number
    of updates that the sampling weights had seen. An attempt that is `given` was not sampled:
    its tokens are context, and its log-probs are 0. `feedback` is the model's comment on the
    attempt before, where it was asked for one; it is part of the prompt.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish: Finish
    version: int
    given: bool = False
    feedback: str = ""

    def __post_init__(self) -> None:
        if not self.completion_ids:
            raise ValueError("an attempt needs at least one completion token")
        if len(self.logprobs) != len(self.completion_ids):
            raise ValueError(
                f"{len(self.logprobs)} log-probs for {len(self.completion_ids)} completion tokens"
            )


@dataclass(frozen=True, slots=True)
class Episode:
    """A problem and its attempts in order; `sample` is its number among the problem's episodes.

    Each attempt's prompt starts with the whole attempt before it, token for token, so that
    one row of tokens (`token_ids`) holds the episode.
    """

    problem: Problem
    sample: int
    attempts: tuple[Attempt, ...]

    def __post_init__(self) -> None:
        for before, after in zip(self.attempts, self.attempts[1:], strict=False):
            seen = before.prompt_ids + before.completion_ids
            if after.prompt_ids[: len(seen)] != seen:
                raise ValueError(
                    f"problem {self.problem.index}, sample {self.sample}: an attempt's prompt "
                    "does not continue the tokens of the attempt before it"
                )

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The whole episode as one row of token ids."""
        return self.attempts[-1].prompt_ids + self.attempts[-1].completion_ids


@dataclass(frozen=True, slots=True)
class GradedEpisode:
    """An episode with one verdict and one reward per attempt.

    The reward of an attempt whose measurement failed is NaN, so that it cannot be taken for a
    number by mistake; `is_measured` is False for it.
    """

    episode: Episode
    verdicts: tuple[Verdict, ...]
    rewards: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.verdicts) == len(self.rewards) == len(self.episode.attempts):
            raise ValueError(
                f"{len(self.verdicts)} verdicts and {len(self.rewards)} rewards for "
                f"{len(self.episode.attempts)} attempts"
            )

    @property
    def is_measured(self) -> tuple[bool, ...]:
        """Whether the grader came to a judgement, for each attempt."""
        return tuple(verdict.is_measured for verdict in self.verdicts)

    @classmethod
    def by_verdict(cls, episode: Episode, verdicts: Iterable[Verdict]) -> "GradedEpisode":
        """Return an episode whose rewards are those of its verdicts."""
        verdicts = tuple(verdicts)
        return cls(episode, verdicts, tuple(verdict.reward for verdict in verdicts))


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """The settings of a round of sampling.

    Together with a problem and a sample number they determine an episode. `seed` is derived
    from the run's seed and the iteration. `samples` is the number of episodes per problem,
    `max_tokens` the limit of an attempt. Temperature 0 is greedy.
    """

    seed: int
    samples: int
    attempts: int
    max_tokens: int
    temperature: float


@dataclass(frozen=True, slots=True)
class Request:
    """A completion that an engine is asked for."""

    key: str
    prompt_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """An engine's answer to a request."""

    key: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish: Finish


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """The measures of an update; the mismatches compare learner and sampler per sampled token."""

    loss: float
    mismatch_mean_abs: float  # of the log-probs' difference
    mismatch_max_abs: float
    mismatch_kl: float  # estimate of KL(sampler || learner), in nats
    grad_norm: float  # before clipping
    learning_rate: float
    truncated: float | None = None  # share of importance weights at their bound; None without one


@dataclass(frozen=True, slots=True)
class BroadcastResult:
    """The check of a weight transfer: each engine's log-probs against the learner's."""

    mismatch: float  # the largest mean |difference| of an engine, in nats
    engines: int  # number of engines that were compared
    seconds: float  # of the transfer alone, packing included where it delays the transfer


class Engine(Protocol):
    """An inference engine with continuous batching, such as vLLM: it takes requests at any time."""

    @property
    def version(self) -> int:
        """Number of updates that the weights it serves have seen."""
        ...

    def add(self, request: Request) -> None:
        """Put a request into the running batch."""
        ...

    def step(self) -> list[Completion]:
        """Advance every running request; return those that ended."""
        ...


class Task(Protocol):
    """A source of problems that knows the correct answers to them.

    `grade` runs in a worker process: it must be importable there (a function, or a method of a
    small object that pickles). It may be slow and may fail; process_grader.py sets a deadline.
    """

    def problems(self, split: str) -> Sequence[Problem]:
        """Return the usable problems of "train" or "test", in a fixed order.

        Raises ValueError if rows cannot be used and task.skip_unusable is not set.
        """
        ...

    def unusable(self, split: str) -> Sequence[UnusableRow]:
        """Return the rows that `problems` left out; none for generated problems."""
        ...

    def grade(self, problem: Problem, text: str) -> Verdict | float:
        """Return CORRECT, WRONG or NO_ANSWER; or a reward, which counts as correct from 1.0 on."""
        ...

    def answer(self, text: str) -> str:
        """Return the answer that a completion gives, in one spelling for votes; "" if none."""
        ...
