import pytest

from score_ray.tasks.tables.csv_file import read_csv


def test_every_value_is_text():
    table = read_csv("q,a,n\n007,N/A,1e5\n2024-03-05, 3 ,18.0\n", ",")
    assert table.names == ("q", "a", "n")
    assert table.rows == [
        {"q": "007", "a": "N/A", "n": "1e5"},
        {"q": "2024-03-05", "a": " 3 ", "n": "18.0"},
    ]


def test_quotes_line_breaks_and_empty_lines_are_read_as_in_a_spreadsheet():
    text = '\nq,a\n"x, ""y""\nz",1\n\n5" pipe,2\n'
    assert [row["q"] for row in read_csv(text, ",").rows] == ['x, "y"\nz', '5" pipe']


def test_fields_of_a_tsv_are_separated_by_tabs_alone():
    assert read_csv("q\ta\n1, 2\t3\n", "\t").rows == [{"q": "1, 2", "a": "3"}]


def test_long_texts_are_read():
    assert len(read_csv(f"q,a\n{'x' * 300_000},1\n", ",").rows[0]["q"]) == 300_000


def test_columns_without_a_name_may_repeat():
    assert read_csv("q,a,,\n1,2,,\n", ",").rows == [{"q": "1", "a": "2", "": ""}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q,a,q\n1,2,3\n", "the column 'q' stands twice in the header"),
        ("q,a\n1,2\n1,2,\n", "line 3: 3 fields, but the header has 2"),
        ('q,a\n"1\n2",3\n4\n', "line 4: 1 fields, but the header has 2"),
        ('q,a\n1,"2" x\n', "line 2: ',' expected after"),
        ('q,a\n1,"2\n', "line 2: unexpected end of data"),
    ],
)
def test_an_error_names_the_line_or_the_column(text, message):
    with pytest.raises(ValueError, match=message):
        read_csv(text, ",")
