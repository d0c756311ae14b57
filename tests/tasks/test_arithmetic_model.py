import random

from score_ray.tasks.arithmetic_model import (
    character_tokenizer,
    corrupted,
    draw_attempts,
    trace_batch,
    without_carry,
)
from score_ray.types import Problem


def test_without_carry_forgets_every_carry():
    assert [without_carry(*p) for p in [(37, 48), (77, 48), (50, 57), (12, 34)]] == [
        "75", "15", "7", "46",
    ]  # fmt: skip


def test_corrupted_changes_exactly_one_digit_and_never_leads_with_zero():
    rng = random.Random(0)
    for _ in range(200):
        wrong = corrupted("105", rng)
        assert sum(a != b for a, b in zip(wrong, "105", strict=True)) == 1
        assert wrong[0] != "0"


def test_second_attempts_are_mostly_copies_and_sometimes_right():
    rng = random.Random(0)
    problem = Problem(0, "37+48=", "85")
    drawn = [draw_attempts(problem, rng) for _ in range(4000)]
    wrong_first = [second for first, second in drawn if first == "75"]
    assert 0.80 < len(wrong_first) / 4000 < 0.90
    assert 0.12 < sum(s == "85" for s in wrong_first) / len(wrong_first) < 0.18


def test_only_the_tokens_of_attempts_have_labels():
    ids, labels = trace_batch(character_tokenizer(), [Problem(0, "37+48=", "85")], random.Random(1))
    assert ids[0, :6].tolist() == [3, 7, 10, 4, 8, 11]
    assert labels[0, :6].tolist() == [-100] * 6
    fitted = labels[0] != -100
    assert (labels[0][fitted] == ids[0][fitted]).all()
    assert (ids[0][~fitted][6:] == 12).all()
