from pathlib import Path
from typing import get_args

import pytest

from score_ray.config.loading import load
from score_ray.config.schema import TaskConfig
from score_ray.tasks import registry
from score_ray.tasks.registry import TASKS, make_task


def test_the_registry_holds_exactly_the_names_that_a_config_may_give():
    assert set(TASKS) == set(get_args(TaskConfig.model_fields["name"].annotation))


@pytest.mark.parametrize("name", ["arithmetic", "sums_smollm2"])
def test_a_configs_task_can_be_made(name):
    task = make_task(load(Path(f"configs/{name}.yaml"), ["task.held_out=7"]).task)
    assert len(task.problems("test")) == 7


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        (["name=mbpp", "train=tests/fixtures/mbpp.jsonl", "test=tests/fixtures/mbpp.jsonl"], 2),
        (["name=mbpp_r", "test=tests/fixtures/mbpp.jsonl", "attempt_column=code"], 7),
        (["name=humaneval", "test=tests/fixtures/humaneval.jsonl"], 2),
    ],
)
def test_the_code_tasks_can_be_made(overrides, count):
    recipe = Path("configs/arithmetic.yaml")
    problems = make_task(load(recipe, [f"task.{o}" for o in overrides]).task).problems("test")
    assert len(problems) == count
    assert all(bool(problem.given) == ("name=mbpp_r" in overrides) for problem in problems)


@pytest.mark.parametrize(
    ("overrides", "text", "answer"),
    [
        ([], " 85 ", "85"),
        (["name=sums"], "It is 085.", "85"),
        (["name=math", "train=absent.jsonl", "test=absent.jsonl"], "#### 85", "85"),
        (
            ["name=mbpp", "train=absent.jsonl", "test=absent.jsonl"],
            "def f(): pass",
            "def f(): pass",
        ),
        (["name=mbpp_r", "test=absent.jsonl", "attempt_column=code"], "x = 1\n\n", "x = 1"),
        (["name=humaneval", "test=absent.jsonl"], "def f(): pass", "def f(): pass"),
    ],
)
def test_answers_are_read_without_data_and_without_a_sandbox(overrides, text, answer, monkeypatch):
    monkeypatch.setattr(registry, "find_isolation", None)
    config = load(Path("configs/arithmetic.yaml"), [f"task.{o}" for o in overrides])
    assert registry.answer_of(config.task)(text) == answer
