"""Every task by its name in a config."""

from collections.abc import Callable
from typing import Any

from score_ray.tasks.arithmetic import Arithmetic
from score_ray.tasks.code import HumanEval, Mbpp
from score_ray.tasks.math import MathAnswers
from score_ray.tasks.sums import Sums
from score_ray.types import Task

TASKS: dict[str, Callable[[Any], Task]] = {
    "arithmetic": lambda c: Arithmetic(held_out=c.held_out),
    "sums": lambda c: Sums(held_out=c.held_out, largest=c.largest),
    "math": lambda c: MathAnswers(c.train, c.test, c.question_column, c.answer_column),
    "mbpp": lambda c: Mbpp(c.train, c.test),
    "mbpp_r": lambda c: Mbpp(c.train, c.test, c.attempt_column),
    "humaneval": lambda c: HumanEval(c.train, c.test),
}


def make_task(config: Any) -> Task:
    """The task of a config's `task` section."""
    return TASKS[config.name](config)
