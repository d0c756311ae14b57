"""Makes a task from its name in a config."""

from collections.abc import Callable

from score_ray.config.schema import TaskConfig
from score_ray.tasks.arithmetic import Arithmetic
from score_ray.tasks.code import HumanEval, Mbpp
from score_ray.tasks.math import MathAnswers
from score_ray.tasks.sandbox.packages import package_files
from score_ray.tasks.sandbox.sandbox import find_isolation
from score_ray.tasks.sums import Sums
from score_ray.types import Task

# The names that `task.name` allows in config/schema.py; a test compares the two.
TASKS: dict[str, Callable[[TaskConfig], Task]] = {
    "arithmetic": lambda c: Arithmetic(held_out=c.held_out),
    "sums": lambda c: Sums(held_out=c.held_out, largest=c.largest),
    "math": lambda c: MathAnswers(
        c.train, c.test, c.question_column, c.answer_column, c.question, c.skip_unusable
    ),
    "mbpp": lambda c: Mbpp(c.train, c.test, "", c.skip_unusable, c.packages),
    "mbpp_r": lambda c: Mbpp(c.train, c.test, c.attempt_column, c.skip_unusable, c.packages),
    "humaneval": lambda c: HumanEval(c.train, c.test, c.skip_unusable, c.packages),
}
RUN_PROGRAMS = ("mbpp", "mbpp_r", "humaneval")  # in a sandbox


def make_task(config: TaskConfig) -> Task:
    """Return the task of a config's `task` section.

    Raises ValueError if the task runs programs and they cannot be isolated on this machine, or
    a package that they may import is missing here.
    """
    if config.name in RUN_PROGRAMS:
        find_isolation()
        package_files(config.packages)
    return TASKS[config.name](config)


def answer_of(config: TaskConfig) -> Callable[[str], str]:
    """Return the function with which a task reads the answer in a completion.

    It needs neither the data files nor a machine that can run the task.
    """
    return TASKS[config.name](config).answer
