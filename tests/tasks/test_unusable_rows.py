import pytest

from score_ray.tasks.unusable_rows import check_unusable
from score_ray.types import UnusableRow

ROWS = [UnusableRow("a.jsonl", i, "no answer") for i in (1, 4, 5, 6)]
ROWS += [UnusableRow("b.csv", i, "the answer is NaN") for i in (0, 2, 3)]


def test_unusable_rows_are_refused_with_their_number_and_the_first_five():
    with pytest.raises(ValueError, match="cannot be used") as error:
        check_unusable(ROWS, 90, skip=False)
    assert str(error.value) == (
        "7 of 90 rows cannot be used (rows are counted from 0): a.jsonl: row 1: no answer; "
        "row 4: no answer; row 5: no answer; row 6: no answer; b.csv: row 0: the answer is NaN; "
        "and 2 more; mend them, or leave them out with task.skip_unusable=true"
    )


def test_five_rows_are_all_named():
    with pytest.raises(ValueError, match="row 0: the answer is NaN; mend them"):
        check_unusable(ROWS[:5], 90, skip=False)


def test_they_are_left_out_on_request_but_not_all_of_a_data_set():
    check_unusable(ROWS, 8, skip=True)
    check_unusable([], 0, skip=False)
    with pytest.raises(ValueError, match=r"^7 of 7 rows .* and 2 more$"):
        check_unusable(ROWS, 7, skip=True)
