"""Every task by its name in a config."""

from collections.abc import Callable
from typing import Any

from score_ray.tasks.arithmetic import Arithmetic
from score_ray.tasks.code import HumanEval, Mbpp
from score_ray.tasks.math import MathAnswers
from score_ray.tasks.sandbox.sandbox import find_way
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
ISOLATED = ("mbpp", "mbpp_r", "humaneval")  # they run programs that nobody trusts


def make_task(config: Any) -> Task:
    """The task of a config's `task` section; ValueError where this machine cannot run it."""
    if config.name in ISOLATED:
        find_way()
    return TASKS[config.name](config)


def answer_of(config: Any) -> Callable[[str], str]:
    """How the task of a config's `task` section reads the answer in a completion.

    It needs neither the data files nor a machine that can run the task.
    """
    return TASKS[config.name](config).answer
