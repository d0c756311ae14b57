import pytest

from score_ray.tasks.tables.json_file import read_json
from score_ray.tasks.tables.table import text_of

TWO = [{"q": "1"}, {"q": "2"}]


@pytest.mark.parametrize(
    "text",
    [
        '{"q": "1"}\n{"q": "2"}\n',
        '\n{"q": "1"}\r\n\r\n{"q": "2"}',
        '[{"q": "1"}, {"q": "2"}]',
        ' [\n {"q": "1"},\n {"q": "2"}\n]\n',
        '{\n"q": "1"\n}\n{\n"q": "2"\n}',
    ],
)
def test_rows_may_stand_in_a_list_or_one_after_the_other(text):
    assert read_json(text).rows == TWO


def test_no_rows_are_no_error():
    assert [read_json(text).rows for text in ("[]", " [ ] \n", "\n\n")] == [[], [], []]


def test_columns_are_those_of_all_rows_in_the_order_of_their_first_place():
    assert read_json('{"b": 1}\n{"a": 1, "b": 2}').names == ("b", "a")


@pytest.mark.parametrize(
    "digits",
    [
        "0.00005", "5e-05", "1E+3", "1e16", "18", "18.0", "-0", "-0.0", "-3", "2.50", "0.1",
        "9007199254740993", "15511210043330985984000000", "-12345678901234567890123456",
        "0.1000000000000000055511151231257827", "1e400", "1" * 5000,
    ],
)  # fmt: skip
def test_numbers_keep_their_digits(digits):
    row = read_json(f'{{"n": {digits}, "other": 2.5}}').rows[0]
    assert text_of(row["n"]) == digits


def test_whole_numbers_are_whole_numbers_of_python():
    assert read_json('{"task_id": 601, "inner": {"n": [7]}}').rows == [
        {"task_id": 601, "inner": {"n": [7]}}
    ]


@pytest.mark.parametrize("text", ["true", "false"])
def test_true_and_false_are_texts(text):
    assert text_of(read_json(f'{{"a": {text}}}').rows[0]["a"]) == text


@pytest.mark.parametrize(
    "text", ["2024-03-05", "2024-03-05T10:00:00", "12:30", "NaN", "null", "007", "1,000", "\u2028"]
)
def test_texts_stay_as_they_are(text):
    assert read_json(f'{{"a": "{text} x"}}').rows == [{"a": f"{text} x"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": 1, "b": 2, "a": 1}', "line 2: the key 'a' stands twice in one object"),
        ('[{"a": 1},\n\n{"x": {"b": 1, "b": 2}}]', "line 3: the key 'b' stands twice"),
        ('{"a": 1}\n\n{"a": 2', "line 3: not JSON"),
        ('{"a": 1}\n{"a": \n{"a": 3}', "line 2: not JSON"),
        ('{"a": 01}', "line 1: not JSON"),
        ('[{"a": 1} {"a": 2}]', "line 1: not JSON: no , or ]"),
        ('[{"a": 1},]', "line 1: not JSON"),
        ('[\n{"a": 1},\n', "line 3: not JSON: the list of rows has no end"),
        ('[{"a": 1}]\n[{"a": 1}]', "line 1: not JSON: text after the end"),
        ('{"a": 1}\n[1, 2]', "line 2: holds a list"),
        ('"text"', "line 1: holds a text"),
        ("null", "line 1: holds null"),
        ("7", "line 1: holds a number"),
        ("[" * 100_000, "line 1: "),
    ],
)
def test_an_error_names_the_line(text, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")) as error:
        read_json(text)
    assert "\n" not in str(error.value)
