"""A user's reward function in place of a task's grading."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from score_ray.types import Problem, Task, UnusableRow, Verdict

Reward = Callable[[Problem, str], Verdict | float]


@dataclass(frozen=True)
class CustomReward:
    """A task whose attempts are graded by the function that `place` ("module:function") names.

    The function gets the problem and the text of an attempt, in a worker process, and returns a
    Verdict or a number. A number is the reward; from 1.0 on it counts as correct.
    """

    task: Task
    place: str

    def problems(self, split: str) -> Sequence[Problem]:
        """Return the task's problems."""
        return self.task.problems(split)

    def unusable(self, split: str) -> Sequence[UnusableRow]:
        """Return the rows that the task left out."""
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

    Raises ValueError if there is no such module or function.
    """
    module_name, separator, name = place.partition(":")
    if not (module_name and separator and name):
        raise ValueError(f'grading.reward: {place!r} is not of the form "module:function"')
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.append(working_directory)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"grading.reward: cannot import {module_name!r}: {error}") from error
    reward = getattr(module, name, None)
    if not callable(reward):
        raise ValueError(f"grading.reward: {module.__file__} has no function {name!r}")
    return cast(Reward, reward)
