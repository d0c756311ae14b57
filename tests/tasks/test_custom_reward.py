import math
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from score_ray.tasks.custom_reward import CustomReward, import_reward, verdict_and_reward
from score_ray.tasks.sums import Sums
from score_ray.types import Problem, Verdict


def test_a_function_in_the_working_directory_replaces_the_tasks_grading(tmp_path, monkeypatch):
    (tmp_path / "short_words.py").write_text(
        "def reward(problem, text):\n    return len(text) / len(problem.answer)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    task = CustomReward(Sums(held_out=5, largest=9), "short_words:reward")
    assert len(task.problems("test")) == 5
    assert task.grade(Problem(0, "q", "four"), "two!!!") == 1.5


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("score_ray.types", 'not of the form "module:function"'),
        (
            "no_such_module:f",
            "cannot import 'no_such_module': .* looked for in the working directory",
        ),
        ("score_ray.types:nothing", "types.py has no function 'nothing'"),
        ("score_ray.tasks.arithmetic:__name__", "has no function '__name__'"),
    ],
)
def test_an_error_names_a_place_without_a_function(place, message):
    with pytest.raises(ValueError, match=message):
        import_reward(place)


def test_the_answer_is_read_as_the_task_reads_it():
    assert CustomReward(Sums(), "score_ray.types:Problem").answer("17 + 25 = 042") == "42"


@pytest.mark.parametrize(
    ("result", "reward"),
    [
        (1, 1.0),
        (-0.25, -0.25),
        (True, 1.0),
        (False, 0.0),
        (np.float32(0.5), 0.5),
        (np.int64(2), 2.0),
        (np.bool_(True), 1.0),
        (np.array(0.75), 0.75),
        (np.array([0.75]), 0.75),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([True]), 1.0),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), 0.5),
        (Fraction(1, 4), 0.25),
        (Decimal("1.5"), 1.5),
    ],
)
def test_a_real_number_is_the_reward(result, reward):
    verdict = Verdict.CORRECT if reward >= 1 else Verdict.WRONG
    assert verdict_and_reward(result) == (verdict, reward)


def test_a_verdict_has_its_own_reward():
    assert verdict_and_reward(Verdict.NO_ANSWER) == (Verdict.NO_ANSWER, 0.0)
    verdict, reward = verdict_and_reward(Verdict.TIMEOUT)
    assert verdict is Verdict.TIMEOUT
    assert math.isnan(reward)


class NoText:
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "result",
    [
        None, "1.0", "correct", b"1", math.nan, math.inf, -math.inf, np.nan, torch.tensor(math.nan),
        1j, [1.0], (1.0,), {"reward": 1.0}, np.array([1.0, 2.0]), np.array("1"), torch.ones(2),
        10**400, Decimal("NaN"), Decimal("sNaN"), np.array([None]), NoText(), float, "x" * 10**6,
    ],
)  # fmt: skip
def test_anything_else_is_no_reward_and_the_error_says_so_in_a_line(result):
    with pytest.raises(ValueError, match="a reward must be a finite number or a Verdict, not") as e:
        verdict_and_reward(result)
    assert len(str(e.value)) < 200


BODIES = """
import functools

def plain(problem, text): return 1.0
shortened = lambda problem, text, scale=1: 1.0
async def later(problem, text): return 1.0
def lazily(problem, text): yield 1.0
async def both(problem, text): yield 1.0
def too_few(completions): return 1.0
def too_many(problem, text, gold): return 1.0
def by_name(*, problem, text): return 1.0
bound = functools.partial(too_many, gold="7")
bound_later = functools.partial(later)

class Graded:
    def __call__(self, problem, text): return 1.0

class GradedLater:
    async def __call__(self, problem, text): return 1.0

instance, instance_later = Graded(), GradedLater()
method = instance.__call__
number = 7
"""


@pytest.fixture
def bodies(tmp_path, monkeypatch):
    (tmp_path / "reward_bodies.py").write_text(BODIES)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield
    sys.modules.pop("reward_bodies", None)


@pytest.mark.usefixtures("bodies")
@pytest.mark.parametrize("name", ["plain", "shortened", "bound", "instance", "method"])
def test_whatever_is_called_with_a_problem_and_a_text_is_a_reward_function(name):
    assert import_reward(f"reward_bodies:{name}")(Problem(0, "q", "7"), "7") == 1.0


@pytest.mark.usefixtures("bodies")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((n, "is an async function or a generator; it must be an ordinary function")
          for n in ("later", "lazily", "both", "bound_later", "instance_later")),
        *((n, "is called with a problem and the text of an attempt, and does not take these two")
          for n in ("too_few", "too_many", "by_name")),
        ("number", "has no function 'number'"),
    ],
)  # fmt: skip
def test_a_function_that_can_give_no_reward_is_refused_in_one_line(name, message):
    with pytest.raises(ValueError, match=message) as raised:
        import_reward(f"reward_bodies:{name}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nx = y", r"NameError: name 'y' is not defined \(.*broken_module.py, line 2\)"),
        ("def score(:", r"SyntaxError: invalid syntax \(.*broken_module.py, line 1\)"),
        ("import json, no_such_helper", r"No module named 'no_such_helper' \(.*, line 1\)"),
        ("raise SystemExit('no GPU')", r"SystemExit: no GPU \(.*broken_module.py, line 1\)"),
        ("raise ValueError('two\\nlines')", r"ValueError: two \(.*broken_module.py, line 1\)"),
    ],
)
def test_a_module_that_fails_is_named_with_the_line(source, message, tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text(source)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(ValueError, match=f"cannot import 'broken_module': .*{message}") as raised:
        import_reward("broken_module:score")
    assert "\n" not in str(raised.value)


def test_a_module_that_changes_the_working_directory_changes_it_for_itself_alone(
    tmp_path, monkeypatch
):
    (tmp_path / "wandering_module.py").write_text(
        "import os\nos.chdir('/')\ndef score(problem, text): return 1.0"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    import_reward("wandering_module:score")
    assert Path.cwd() == tmp_path
