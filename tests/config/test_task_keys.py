"""The keys that each task reads."""

from typing import get_args

from score_ray.config.schema import TaskConfig
from score_ray.config.task_keys import GENERATED, TASK_KEYS


def test_every_task_of_a_config_has_its_keys_and_no_other():
    assert set(TASK_KEYS) == set(get_args(TaskConfig.model_fields["name"].annotation))
    assert set(GENERATED) < set(TASK_KEYS)


def test_every_key_of_the_section_is_read_by_a_task_and_no_unknown_one_is_named():
    assert {key for keys in TASK_KEYS.values() for key in keys} == set(TaskConfig.model_fields)


def test_generated_tasks_read_no_data():
    assert not {key for task in GENERATED for key in TASK_KEYS[task]} & {
        "train",
        "test",
        "question",
    }
