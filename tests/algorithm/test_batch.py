from dataclasses import replace

import pytest

from score_ray.algorithm.batch import Row, collate, row_of, shard
from score_ray.types import Attempt, Episode, Finish, Problem


def attempt(prompt: tuple, completion: tuple) -> Attempt:
    logprobs = tuple(-float(i + 1) for i in range(len(completion)))
    return Attempt(prompt, completion, logprobs, "", Finish.STOP, 0)


def test_turn_ids_come_from_lengths_even_where_ids_look_like_padding():
    first = attempt((0, 0), (0, 0))
    second = attempt((0, 0, 0, 0, 5), (0,))
    row = row_of(Episode(Problem(0, "", ""), 0, (first, second)))
    assert row.token_ids == (0, 0, 0, 0, 5, 0)
    assert row.turn_ids == (0, 0, 1, 1, 0, 2)
    assert row.sampled_logprobs == (0.0, 0.0, -1.0, -2.0, 0.0, -1.0)


def test_an_attempt_that_was_given_is_context():
    first = replace(attempt((1,), (2, 3)), given=True)
    row = row_of(Episode(Problem(0, "", ""), 0, (first, attempt((1, 2, 3, 4), (5,)))))
    assert row.turn_ids == (0, 0, 0, 0, 2)


def test_collate_pads_on_the_right_and_masks_by_length():
    batch = collate([Row((7, 8), (0, 1), (0.0, -1.0)), Row((9,), (0,), (0.0,))])
    assert batch.token_ids.tolist() == [[7, 8], [9, 0]]
    assert batch.attention.tolist() == [[True, True], [True, False]]
    assert batch.turn_ids.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("budget", [1, 10, 64])
def test_shard_covers_each_row_once_within_the_budget_and_equally_often(num_ranks, budget):
    lengths = [3, 9, 4, 4, 12, 1, 7]
    shares = shard(lengths, num_ranks, budget)
    batches = [batch for share in shares for batch in share if batch]
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= budget for b in batches)
    assert len({len(share) for share in shares}) == 1


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
@pytest.mark.parametrize("budget", [1, 10, 20])
def test_packed_micro_batches_are_counted_by_their_own_tokens(num_ranks, budget):
    lengths = [3, 9, 4, 4, 12, 1, 7]
    shares = shard(lengths, num_ranks, budget, packing=True)
    batches = [batch for share in shares for batch in share if batch]
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert all(len(b) == 1 or sum(lengths[i] for i in b) <= budget for b in batches)
    assert len({len(share) for share in shares}) == 1


def test_packing_holds_more_rows_than_padding_to_the_longest():
    """12 + 4 + 4 tokens fit into 20 where two rows of width 12 do not."""
    assert shard([12, 4, 4], 1, 20) == [[[0], [1, 2]]]
    assert shard([12, 4, 4], 1, 20, packing=True) == [[[0, 1, 2]]]


def test_a_row_of_unequal_parts_is_refused():
    with pytest.raises(ValueError, match="one turn id"):
        Row((1, 2), (0,), (0.0, 0.0))
