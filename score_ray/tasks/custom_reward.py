"""A user's reward function in place of a task's grading."""

import importlib
import inspect
import math
import reprlib
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any, cast

from score_ray.types import Problem, Task, UnusableRow, Verdict

MOST_CHARACTERS = 500  # of an error's message
Reward = Callable[[Problem, str], Verdict | float]
LAZY = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)  # kinds of functions that return before they have computed anything


@dataclass(frozen=True)
class CustomReward:
    """A task whose attempts are graded by the function that `place` ("module:function") names.

    The function gets the problem and the text of an attempt, in a worker process, and returns a
    Verdict or a number. A number is the reward; from 1.0 on it counts as correct.
    """

    task: Task
    place: str

    def prepare(self) -> None:
        """Import the function; raise ValueError as `import_reward` does."""
        import_reward(self.place)

    def problems(self, split: str) -> Sequence[Problem]:
        """Return the task's problems."""
        return self.task.problems(split)

    def unusable(self, split: str) -> Sequence[UnusableRow]:
        """Return the rows that the task has left out."""
        return self.task.unusable(split)

    def grade(self, problem: Problem, text: str) -> Verdict | float:
        """Return what the function returns."""
        return import_reward(self.place)(problem, text)

    def answer(self, text: str) -> str:
        """Return the answer as the task reads it."""
        return self.task.answer(text)


@cache
def import_reward(place: str) -> Reward:
    """Import the function that "module:function" names, also from the working directory.

    Raises ValueError in one line if the module cannot be imported, or has no function of that
    name that can be called with a problem and a text.
    """
    module_name, separator, name = place.partition(":")
    if not (module_name and separator and name):
        raise ValueError(f'grading.reward: {place!r} is not of the form "module:function"')
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.append(working_directory)
    try:
        with chdir(working_directory):  # left again, wherever the module goes
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        reason = f"{one_line(error)}{_line_of(error)}"
        raise ValueError(f"grading.reward: cannot import {module_name!r}: {reason}") from error
    reward = getattr(module, name, None)
    if not callable(reward):
        where = getattr(module, "__file__", None) or module_name
        raise ValueError(f"grading.reward: {where} has no function {name!r}")
    _check_call(reward, place)
    return cast(Reward, reward)


def verdict_and_reward(result: Any) -> tuple[Verdict, float]:
    """Return the verdict and the reward that a grader's result stands for.

    A real, finite number is a reward: Python's, NumPy's, PyTorch's, or True and False. Raises
    ValueError for everything else but a Verdict, also for text that reads as a number.
    """
    if isinstance(result, Verdict):
        return result, result.reward
    refusal = f"a reward must be a finite number or a Verdict, not {reprlib.repr(result)}"
    try:
        # The value of a tensor or an array with one element.
        value = result.item() if callable(getattr(result, "item", None)) else result
        reward = float(value) if isinstance(value, Real | Decimal) else math.nan
    except (ValueError, RuntimeError, OverflowError, TypeError) as error:
        raise ValueError(refusal) from error
    if not math.isfinite(reward):
        raise ValueError(refusal)
    return Verdict.CORRECT if reward >= 1.0 else Verdict.WRONG, reward


def one_line(error: BaseException) -> str:
    """Return an error as its type and the first line of its message, which may be cut."""
    lines = traceback.format_exception_only(error)[-1].strip().splitlines()
    return (lines or [type(error).__name__])[0][:MOST_CHARACTERS]


def _line_of(error: BaseException) -> str:
    """Return the file and line where a module failed, or where one that is missing was sought."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    last = frames[-1]
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    if last.filename == __file__:
        return "; it is looked for in the working directory and on PYTHONPATH"
    return f" ({last.filename}, line {last.lineno})"


def _check_call(reward: Callable[..., object], place: str) -> None:
    """Raise ValueError unless a function can be called with a problem and a text."""
    called = (reward, getattr(reward, "__call__", None))  # noqa: B004 (the method of an instance)
    if any(is_lazy(function) for function in called for is_lazy in LAZY):
        raise ValueError(
            f"grading.reward: {place} is an async function or a generator; it must be an "
            "ordinary function that returns the reward"
        )
    try:
        inspect.signature(reward).bind(Problem(0, "", ""), "")
    except TypeError as error:
        raise ValueError(
            f"grading.reward: {place} is called with a problem and the text of an attempt, and "
            f"does not take these two: {error}"
        ) from error
    except ValueError:  # some functions written in C have no signature to check
        return
