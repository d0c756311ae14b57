"""The nouns of the system: one type per hop of the data flow.

    Problem -> Attempt, Attempt -> Episode -> GradedEpisode -> (batch.py) Row

Everything here is frozen and imports nothing but the standard library, so that every other
module, on every machine of a run, can speak the same words.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ConfigError(ValueError):
    """The configuration cannot be run; the message names the key and what would be right."""


class RunError(RuntimeError):
    """The run cannot go on; the message says why, in words for its owner."""


class ProcessLost(RuntimeError):
    """A process of the run died or fell silent: who, doing what, and how it showed."""

    def __init__(self, who: str, doing: str, how: str) -> None:
        super().__init__(f"{who}: {how} while {doing}")
        self.who, self.doing, self.how = who, doing, how


class LearnerLost(ProcessLost):
    """A learner rank was lost, and with it the state of all ranks."""


class PeerLost(RuntimeError):
    """What this process needs from another one does not come."""


class Finish(StrEnum):
    """Why an attempt ended."""

    STOP = "stop"  # the model ended it with a stop token
    LENGTH = "length"  # it was cut at the token limit


class Verdict(StrEnum):
    """What the grader found; every value is counted in the metrics."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"  # nothing in the text could be read as an answer
    TRUNCATED = "truncated"  # cut at the token limit, and not correct as it stands
    TIMEOUT = "timeout"  # the grader did not come to an end in time
    GRADER_ERROR = "grader_error"  # the grader itself failed; never a silent "wrong"

    @property
    def reward(self) -> float:
        """1.0 for a correct attempt, 0.0 for every other verdict."""
        return 1.0 if self is Verdict.CORRECT else 0.0

    def after(self, finish: Finish) -> "Verdict":
        """TRUNCATED in place of a failure that the token limit explains."""
        failed = self in (Verdict.WRONG, Verdict.NO_ANSWER)
        return Verdict.TRUNCATED if failed and finish is Finish.LENGTH else self


@dataclass(frozen=True, slots=True)
class Problem:
    """A question and its gold answer; `index` is its place in the split it was read from.

    Where `given` is not empty it is the first attempt of every episode, which then is context
    to correct and not drawn from the policy. `level` names its difficulty, where that is known.
    """

    index: int
    question: str
    answer: str
    given: str = ""
    level: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One completion of the model, kept as the tokens it drew: text is derived from them.

    `logprobs` are the sampler's own log-probabilities of `completion_ids`; `version` is how
    many updates the weights that wrote it had seen. An attempt that is `given` was not drawn:
    its tokens are context, and its log-probs 0. `feedback` is what the model said of the
    attempt before, where it was asked; it is part of the prompt.
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
    """A problem and its attempts, the first one first; `sample` numbers it in its group.

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
        """The whole episode as one row of tokens."""
        return self.attempts[-1].prompt_ids + self.attempts[-1].completion_ids


@dataclass(frozen=True, slots=True)
class GradedEpisode:
    """An episode with one verdict and one reward per attempt."""

    episode: Episode
    verdicts: tuple[Verdict, ...]
    rewards: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.verdicts) == len(self.rewards) == len(self.episode.attempts):
            raise ValueError(
                f"{len(self.verdicts)} verdicts and {len(self.rewards)} rewards for "
                f"{len(self.episode.attempts)} attempts"
            )

    @classmethod
    def by_verdict(cls, episode: Episode, verdicts: Iterable[Verdict]) -> "GradedEpisode":
        """An episode whose rewards are its verdicts' own."""
        found = tuple(verdicts)
        return cls(episode, found, tuple(verdict.reward for verdict in found))


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """How to sample: what an episode is depends on this, its problem and its sample number.

    `seed` is already a function of the run's seed and the iteration; temperature 0 is greedy.
    """

    seed: int
    samples: int
    attempts: int
    max_tokens: int
    temperature: float


@dataclass(frozen=True, slots=True)
class Request:
    """One completion asked of an engine."""

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


class Engine(Protocol):
    """What rollout.py needs of vLLM: a running batch that takes requests at any time."""

    @property
    def version(self) -> int:
        """How many updates the weights it serves have seen."""
        ...

    def add(self, request: Request) -> None:
        """Put a request into the running batch."""
        ...

    def step(self) -> list[Completion]:
        """Advance every running request; return those that ended."""
        ...


class Task(Protocol):
    """Where problems come from and what is a correct answer to them.

    `grade` runs in a worker process: it must be importable there (a function or a method of
    a small picklable object), may be slow and may fail; verify.py holds the deadline.
    """

    def problems(self, split: str) -> Sequence[Problem]:
        """All problems of "train" or "test", in a fixed order."""
        ...

    def grade(self, problem: Problem, text: str) -> Verdict | float:
        """CORRECT, WRONG or NO_ANSWER; or a reward, which from 1.0 on counts as correct."""
        ...

    def answer(self, text: str) -> str:
        """The answer that a completion gives, in one spelling: what is voted on; or ""."""
        ...


class Pool(Protocol):
    """What the loop needs of the rollout actors, few or many."""

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream episodes as they end, in lists of those that ended together, or of none."""
        ...

    def take_restarts(self) -> int:
        """How many rollout actors were replaced since this was last asked."""
        ...


class Grader(Protocol):
    """What the loop needs of the process pool of verify.py."""

    def submit(self, episodes: Iterable[Episode]) -> None:
        """Start grading these episodes in the background."""
        ...

    def collect(self) -> list[GradedEpisode]:
        """Wait for everything submitted; in order of problem index and sample."""
        ...

    def forget(self) -> None:
        """Give up what was submitted and not collected."""
        ...


class PolicyBroadcast(Protocol):
    """What the loop needs of the weights' way to the engines."""

    def broadcast(self, version: int) -> dict[str, float]:
        """Send the policy to every engine and check it; the metrics of that check."""
        ...
