import datetime
from decimal import Decimal

import pandas
import pyarrow
import pytest

from score_ray.tasks.tables.arrow_file import rows_of
from score_ray.tasks.tables.table import text_of, value_at

NOON = datetime.datetime(2024, 3, 5, 12, 30)


def texts(values, kind=None):
    column = pyarrow.chunked_array([pyarrow.array(values, kind)])
    return [text_of(row["a"]) for row in rows_of(pyarrow.table({"a": column}), None).rows]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0.00005, 1e-7, 0.1, 18.0, -2.5], pyarrow.float64(), ["0.00005", "0.0000001", "0.1", "18.0", "-2.5"]),
        ([0.1, 18.0, 0.00005], pyarrow.float32(), ["0.1", "18.0", "0.00005"]),
        ([0.5, 2.0], pyarrow.float16(), ["0.5", "2.0"]),
        ([2.0**53 - 1], pyarrow.float64(), ["9007199254740991.0"]),
        ([2**53 + 1, -(2**63)], pyarrow.int64(), ["9007199254740993", "-9223372036854775808"]),
        ([2**64 - 1], pyarrow.uint64(), ["18446744073709551615"]),
        ([Decimal("0.00000010"), Decimal("18.00000000")], pyarrow.decimal128(30, 8), ["0.00000010", "18.00000000"]),
        ([Decimal(f"1{'0' * 29}1")], pyarrow.decimal256(40, 0), [f"1{'0' * 29}1"]),
        ([NOON.date()], pyarrow.date32(), ["2024-03-05"]),
        ([NOON], pyarrow.timestamp("us"), ["2024-03-05T12:30:00"]),
        ([NOON], pyarrow.timestamp("ns"), ["2024-03-05T12:30:00"]),
        ([NOON.time()], pyarrow.time64("us"), ["12:30:00"]),
        ([45_000_000_000_001], pyarrow.time64("ns"), ["12:30:00.000000001"]),
        ([True, False], pyarrow.bool_(), ["true", "false"]),
        (["007", "NaN"], pyarrow.large_string(), ["007", "NaN"]),
        (["x", "y"], pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), ["x", "y"]),
    ],
)  # fmt: skip
def test_values_become_the_text_that_the_column_has(values, kind, expected):
    assert texts(values, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (None, pyarrow.int64(), "is missing"),
        (float("nan"), pyarrow.float64(), "is NaN"),
        (float("-inf"), pyarrow.float32(), "is -inf"),
        (2.0**53, pyarrow.float64(), "may have lost digits; store the column as text"),
        (-1e17, pyarrow.float64(), "may have lost digits"),
        (2.0**24, pyarrow.float32(), "may have lost digits"),
        (b"7", pyarrow.binary(), "holds bytes"),
        ([7], pyarrow.list_(pyarrow.int64()), "holds a list"),
        (datetime.timedelta(1), pyarrow.duration("s"), "holds a timedelta"),
        (10**17, pyarrow.timestamp("s"), "a time beyond the year 9999"),
        (2**30, pyarrow.date32(), "a time beyond the year 9999"),
        (2**60, pyarrow.duration("s"), "a time beyond the year 9999"),
    ],
)
def test_a_value_without_a_text_is_an_error(value, kind, reason):
    with pytest.raises(ValueError, match=reason):
        texts([value], kind)


def test_whole_numbers_that_pandas_made_floats_keep_their_point():
    table = pyarrow.Table.from_pandas(pandas.DataFrame({"a": [18, None]}))
    (first, second) = rows_of(table, None).rows
    assert text_of(first["a"]) == "18.0"
    with pytest.raises(ValueError, match=r"is (missing|NaN)"):
        text_of(second["a"])


FLOAT = pyarrow.float32()


@pytest.mark.parametrize(
    ("kind", "value", "path"),
    [
        (pyarrow.struct([("x", pyarrow.list_(FLOAT))]), {"x": [0.1, None]}, "a.x.0"),
        (pyarrow.list_(FLOAT, 2), [7.0, 0.1], "a.1"),
        (pyarrow.large_list(pyarrow.list_(FLOAT, 1)), [[0.1]], "a.0.0"),
    ],
)
def test_floats_inside_of_other_values_have_the_width_of_the_column(kind, value, path):
    first, second = rows_of(pyarrow.table({"a": pyarrow.array([value, None], kind)}), None).rows
    assert text_of(value_at(first, path)) == "0.1"
    assert second == {"a": None}


def test_a_time_that_cannot_be_held_leaves_the_other_rows_alone():
    table = pyarrow.table({"a": pyarrow.array([0, 10**17, None], pyarrow.timestamp("s"))})
    first, _, last = rows_of(table, None).rows
    assert text_of(first["a"]) == "1970-01-01T00:00:00"
    assert last == {"a": None}


def test_only_wanted_columns_are_read_but_all_are_named():
    table = pyarrow.table({"q": ["1"], "a": [{"value": 2, "unit": "m"}], "other": ["3"]})
    rows = rows_of(table, ["q", "a.value"])
    assert rows.names == ("q", "a", "other")
    assert rows.rows == [{"q": "1", "a": {"value": 2, "unit": "m"}}]
    assert rows_of(table, []).rows == [{}]


def test_dates_that_were_guessed_are_no_text():
    table = pyarrow.table({"a": [NOON], "b": ["7"]})
    (row,) = rows_of(table, None, guesses_dates=True).rows
    assert text_of(row["b"]) == "7"
    with pytest.raises(ValueError, match="was taken for a date; download the file"):
        text_of(row["a"])


def test_a_column_that_stands_twice_is_an_error():
    table = pyarrow.table([["1"], ["2"]], names=["a", "a"])
    with pytest.raises(ValueError, match="'a' stands twice"):
        rows_of(table, None)
