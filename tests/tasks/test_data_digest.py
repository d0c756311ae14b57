from dataclasses import replace

import pytest

from score_ray.tasks.data_digest import digest, row_digest
from score_ray.types import Problem

PROBLEM = Problem(0, "1+1?", "2", level="easy", source="a.jsonl", row=3)
CHANGED = {"index": 1, "question": "1+2?", "answer": "3", "given": "2", "level": "", "source": "b"}


@pytest.mark.parametrize(("field", "value"), CHANGED.items())
def test_every_field_that_makes_a_run_changes_the_digest(field, value):
    changed = replace(PROBLEM, **{field: value})
    assert row_digest(changed) != row_digest(PROBLEM)
    assert digest([changed]) != digest([PROBLEM])


def test_the_digest_is_the_same_in_every_process_and_sees_the_order():
    first, second = PROBLEM, Problem(1, "½ + ½?", "1")
    expected = "7477fbb1e46d5becef4f4658fcf4f4c0c0e72e4180367d9cd83d69a1205a99b3"
    assert digest([first, second]) == expected
    assert digest([second, first]) != expected
    assert digest([first]) != expected


def test_text_does_not_move_between_fields_unseen():
    assert digest([Problem(0, "ab", "c")]) != digest([Problem(0, "a", "bc")])
    assert digest([Problem(0, "a", '", "')]) != digest([Problem(0, 'a", "', "")])
