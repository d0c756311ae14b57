from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from score_ray.config.config import Config
from score_ray.config.loading import load
from score_ray.rollout.prompter import Prompter
from score_ray.tasks.arithmetic_model import character_tokenizer
from score_ray.tasks.prompts import Prompts
from score_ray.training.fitting_problems import fitting_problems, left_out_note, room_for_prompt
from score_ray.types import ConfigError, Problem, UnusableRow

CONFIG = load(Path("configs/arithmetic.yaml"), ["rollout.max_tokens=4", "model.max_length=18"])
PROMPTER = Prompter(character_tokenizer(), Prompts("{question}", "?"))
UNREADABLE = UnusableRow("a.jsonl", 1, "no final answer")


@dataclass
class Rows:
    """A task with rows of a file, of which the second has no answer."""

    questions: tuple[str, ...]

    def problems(self, split: str) -> list[Problem]:
        rows = [0, *range(2, len(self.questions) + 1)]
        return [
            Problem(row, question, "1", source="a.jsonl", row=row)
            for row, question in zip(rows, self.questions, strict=True)
        ]

    def unusable(self, split: str) -> list[UnusableRow]:
        return [UNREADABLE]


def config(skip: bool) -> Config:
    task = CONFIG.task.model_copy(update={"skip_unusable": skip})
    return CONFIG.model_copy(update={"task": task})


def fitting(questions: tuple[str, ...], skip: bool, most: int | None = None):
    return fitting_problems(Rows(questions), "train", PROMPTER, config(skip), 2, most)


def test_what_the_attempts_and_the_turns_before_them_leave_is_for_the_prompt():
    # Each attempt has 4 tokens, and the question mark before it one.
    assert room_for_prompt(CONFIG, PROMPTER, 2) == 18 - 2 * 5
    assert room_for_prompt(CONFIG, PROMPTER, 3) == 3
    with pytest.raises(ConfigError, match="18 leaves no room for a question: 4 attempts.* 20 tok"):
        room_for_prompt(CONFIG, PROMPTER, 4)


def test_rows_that_do_not_fit_are_left_out_beside_those_that_cannot_be_read():
    problems, left_out = fitting(("1+1=", "1+1+1+1+1=", "2+2="), skip=True)
    assert [problem.row for problem in problems] == [0, 3]
    long = "its prompt has 10 tokens; model.max_length leaves room for 8 next to the attempts"
    assert left_out == [UNREADABLE, UnusableRow("a.jsonl", 2, long)]


def test_without_leave_to_skip_all_such_rows_are_counted_and_the_first_five_named():
    questions = ("1+1=", *["1+1+1+1+1="] * 7)
    with pytest.raises(ValueError, match="8 of 9 rows cannot be used") as caught:
        fitting(questions, skip=False)
    assert str(caught.value).count("row ") == 5
    assert "a.jsonl: row 1: no final answer; row 2: its prompt has 10 tokens" in str(caught.value)
    assert "and 3 more; mend them, or leave them out with task.skip_unusable" in str(caught.value)


def test_a_split_of_which_nothing_is_left_is_an_error_even_with_leave_to_skip():
    with pytest.raises(ValueError, match="3 of 3 rows cannot be used"):
        fitting(("1+1+1+1+1=", "1+1+1+1+2="), skip=True)


def test_the_wanted_number_is_filled_with_later_rows_and_the_rest_is_not_looked_at():
    questions = ("1+1=", "1+1+1+1+1=", "2+2=", "1+1+1+1+2=")
    problems, left_out = fitting(questions, skip=True, most=2)
    assert [problem.row for problem in problems] == [0, 3]
    assert [row.row for row in left_out] == [1, 2]


def test_the_note_counts_rows_by_data_set():
    rows = [UNREADABLE, replace(UNREADABLE, row=5), replace(UNREADABLE, source="b.csv")]
    assert left_out_note(rows) == "task.skip_unusable leaves rows out: 2 of a.jsonl, 1 of b.csv"
