from dataclasses import replace

import pytest

from score_ray.tasks.data_digest import numbering, question_hash, row_hashes
from score_ray.types import Problem

PROBLEM = Problem(0, "1+1?", "2", level="easy", source="a.jsonl", row=3)
OTHER = Problem(1, "½ + ½?", "1", source="a.jsonl", row=4)


def hashes(*problems: Problem) -> list[int]:
    return row_hashes(problems).tolist()


@pytest.mark.parametrize(
    ("field", "value"), {"question": "1+2?", "answer": "3", "given": "2", "level": ""}.items()
)
def test_all_that_a_problem_says_changes_its_hash(field, value):
    assert hashes(replace(PROBLEM, **{field: value})) != hashes(PROBLEM)


def test_the_place_of_a_problem_does_not_change_its_hash():
    assert hashes(replace(PROBLEM, index=7, source="b.jsonl", row=9)) == hashes(PROBLEM)


def test_the_hashes_are_the_same_in_every_process_and_in_the_order_of_the_problems():
    # As `b2sum -l 64` prints it for the texts as JSON, read from its last byte to its first.
    assert hashes(PROBLEM, OTHER) == [7244845150383010482, 9693313307577200764]
    assert hashes(OTHER, PROBLEM) == hashes(PROBLEM, OTHER)[::-1]
    assert hashes() == []


def test_text_does_not_move_between_fields_unseen():
    assert hashes(Problem(0, "ab", "c")) != hashes(Problem(0, "a", "bc"))
    assert hashes(Problem(0, "a", '", "')) != hashes(Problem(0, 'a", "', ""))


def test_the_numbering_sees_indices_and_the_borders_of_data_sets_but_no_paths():
    numbered = numbering([PROBLEM, OTHER])
    moved = [replace(p, source="b.jsonl") for p in (PROBLEM, OTHER)]
    assert numbering(moved) == numbered
    assert numbering([PROBLEM, replace(OTHER, index=2)]) != numbered
    assert numbering([PROBLEM, replace(OTHER, source="b.jsonl")]) != numbered


def test_a_question_has_a_hash_of_sixteen_digits_even_if_it_is_no_unicode():
    assert question_hash("1+1?") == "f8f461da9fc71d0c"
    assert len(question_hash("\ud800")) == 16
