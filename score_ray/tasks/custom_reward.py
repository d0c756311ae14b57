"""A reward of your own in place of a task's check."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from score_ray.types import Problem, Task, Verdict

Reward = Callable[[Problem, str], Verdict | float]


@dataclass(frozen=True)
class OwnReward:
    """A task's problems, graded by the function that `place` ("module:function") names.

    It gets the problem and the text of an attempt, in a worker process, and returns a Verdict
    or a number; a number is the reward, and counts as correct from 1.0 on.
    """

    task: Task
    place: str

    def problems(self, split: str) -> Sequence[Problem]:
        """The task's own."""
        return self.task.problems(split)

    def grade(self, problem: Problem, text: str) -> Verdict | float:
        """What the function returns."""
        return find_reward(self.place)(problem, text)

    def answer(self, text: str) -> str:
        """The task's own."""
        return self.task.answer(text)


@cache
def find_reward(place: str) -> Reward:
    """The function that "module:function" names; the working directory's modules count.

    Raises ValueError if there is no such module or function.
    """
    module_name, separator, name = place.partition(":")
    if not (module_name and separator and name):
        raise ValueError(f'grading.reward: {place!r} is not of the form "module:function"')
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"grading.reward: cannot import {module_name!r}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"grading.reward: {module.__file__} has no function {name!r}")
    return cast(Reward, found)
