"""Finds the problems that can be put to the model: short enough, and without control tokens."""

from collections.abc import Sequence

from score_ray.config.config import Config
from score_ray.rollout.prompter import Prompter
from score_ray.tasks.unusable_rows import check_unusable
from score_ray.types import ConfigError, Problem, Task, UnusableRow


def room_for_prompt(config: Config, prompter: Prompter, attempts: int) -> int:
    """Return the tokens that model.max_length leaves for a prompt next to its attempts.

    Raises ConfigError if the attempts alone take all of it.
    """
    turn, length = prompter.longest_turn(config.rollout.max_tokens), config.model.max_length
    if length <= attempts * turn:
        raise ConfigError(
            f"model.max_length: {length} leaves no room for a question: {attempts} attempts, with "
            f"rollout.max_tokens ({config.rollout.max_tokens}) and the turn before each, take "
            f"{attempts * turn} tokens; raise it, or lower rollout.max_tokens"
        )
    return length - attempts * turn


def fitting_problems(
    task: Task, split: str, prompter: Prompter, config: Config, attempts: int, most: int | None
) -> tuple[list[Problem], list[UnusableRow]]:
    """Return the problems of a split that fit, the first `most` of them, and rows left out.

    Raises ValueError if there are rows to leave out and task.skip_unusable is not set, and
    ConfigError if a generated problem does not fit.
    """
    room = room_for_prompt(config, prompter, attempts)
    skip, max_tokens = config.task.skip_unusable, config.rollout.max_tokens
    problems = task.problems(split)
    left_out = [*task.unusable(split)]
    # Without skipping, only what would be used is looked at.
    looked_at = problems if skip else problems[:most]
    fitting: list[Problem] = []
    for problem in looked_at:
        if most is not None and len(fitting) == most:
            break
        if reason := prompter.fault(problem, room, max_tokens):
            left_out.append(_unusable(problem, split, reason))
        else:
            fitting.append(problem)
    check_unusable(left_out, len(fitting) + len(left_out), skip)
    return fitting, left_out


def _unusable(problem: Problem, split: str, reason: str) -> UnusableRow:
    """Return the row of a problem that does not fit; raise ConfigError for a generated problem."""
    if not problem.source:
        raise ConfigError(f"{split} problem {problem.index}, {problem.question!r}: {reason}")
    return UnusableRow(problem.source, problem.row, reason)


def left_out_note(rows: Sequence[UnusableRow]) -> str:
    """Return a sentence on how many rows were left out of which data sets."""
    counts = {source: sum(row.source == source for row in rows) for source in _sources(rows)}
    parts = [f"{count} of {source}" for source, count in counts.items()]
    return f"task.skip_unusable leaves rows out: {', '.join(parts)}"


def _sources(rows: Sequence[UnusableRow]) -> list[str]:
    return list(dict.fromkeys(row.source for row in rows))
