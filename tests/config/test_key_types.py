"""The types of dotted keys."""

import pytest

from score_ray.config.config import Config
from score_ray.config.key_types import all_keys, is_structure, is_text, types_of


@pytest.mark.parametrize(
    "key",
    ["name", "model.path", "model.dtype", "prompts.correction", "stages.3.name", "stages.0.learn",
     "learner.lora.targets.7", "task.train.0.path"],
)  # fmt: skip
def test_keys_of_text_and_of_choices_of_text_are_text(key):
    assert any(map(is_text, types_of(key, Config)))


@pytest.mark.parametrize(
    "key", ["seed", "learner.zero_stage", "rollout", "stages", "stages.0.kl.1", "grading.judge"]
)
def test_numbers_switches_lists_and_sections_are_no_text(key):
    assert types_of(key, Config)
    assert not any(map(is_text, types_of(key, Config)))


@pytest.mark.parametrize(
    "key", ["", "nme", "name.more", "stages.first", "stages.0.kl.1.2", "model."]
)
def test_a_key_that_leads_nowhere_has_no_type(key):
    assert types_of(key, Config) == ()


def test_sections_lists_and_what_may_be_a_list_hold_other_values():
    structures = {
        key for key in Config.model_fields if any(map(is_structure, types_of(key, Config)))
    }
    assert {"model", "stages", "learner"} <= structures
    assert not {"name", "seed"} & structures
    assert any(map(is_structure, types_of("task.train", Config)))


def test_all_keys_are_those_that_have_a_type():
    keys = list(all_keys((Config,)))
    assert {"learner.lora.rank", "stages.0.bonus", "task.train.0.weight"} <= set(keys)
    assert all(types_of(key, Config) for key in keys)
