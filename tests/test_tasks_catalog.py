from pathlib import Path
from typing import get_args

import pytest

from score_ray.config import TaskConfig, load
from score_ray.tasks.catalog import TASKS, make_task


def test_the_catalog_holds_exactly_the_names_a_config_may_give():
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
