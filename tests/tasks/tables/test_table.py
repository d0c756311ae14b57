import pytest

from score_ray.tasks.tables.table import MISSING, DataTable, check_column, joined, text_of, value_at

ROW = {
    "answer": {"value": "7", "unit.long": "metres", "parts": [{"x": 1}, {"x": 2}]},
    "choices": ["a", "b"],
    "answer.value": "8",
    "none": None,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("answer.value", "8"),
        ("answer.unit.long", "metres"),
        ("answer.parts.1.x", 2),
        ("choices.0", "a"),
        ("choices.2", MISSING),
        ("choices.-1", MISSING),
        ("choices.x", MISSING),
        ("answer.values", MISSING),
        ("none", None),
        ("none.x", MISSING),
        ("answer.value.x", MISSING),
    ],
)
def test_dots_lead_into_values_and_a_name_with_a_dot_comes_first(path, value):
    assert value_at(ROW, path) is value or value_at(ROW, path) == value


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("anwser", r"x\.csv: no column 'anwser'; it has \['question', 'answer'\]; did you mean answer"),
        ("answer.vlaue", r"did you mean answer\.value"),
        ("level", r"no column 'level'; it has \['question', 'answer'\]$"),
    ],
)  # fmt: skip
def test_a_column_that_is_missing_in_every_row_is_an_error(name, message):
    rows = [{"question": "1", "answer": {"value": 1}}, {"question": "2", "answer": {"value": 1}}]
    with pytest.raises(ValueError, match=message):
        check_column(DataTable(("question", "answer"), rows), "x.csv", name)


def test_a_column_may_be_missing_in_some_rows_and_may_have_one_of_several_names():
    table = DataTable(("a",), [{"a": None}, {"a": {"b": 1}}])
    check_column(table, "x.csv", "a.b")
    check_column(table, "x.csv", "b", "a")


def test_tables_are_joined_and_cut():
    table = joined([DataTable(("a",), [{"a": 1}]), DataTable(("b", "a"), [{"b": 2}, {"b": 3}])])
    assert table.names == ("a", "b")
    assert table.part(1, 3).rows == [{"b": 2}, {"b": 3}]


@pytest.mark.parametrize("value", ["", " \n", "\u200b", "\ufeff \u2060", "\u3000\u00ad", "\0"])
def test_a_text_without_a_visible_sign_is_empty(value):
    with pytest.raises(ValueError, match="^is empty$"):
        text_of(value)
