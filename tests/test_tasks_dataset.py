import json

import pytest

from score_ray.tasks.dataset import load_problems
from score_ray.types import Problem

ROWS = [{"q": "1+1?", "a": "2"}, {"q": "2+2?", "a": "4"}]
FOUND = [Problem(0, "1+1?", "2"), Problem(1, "2+2?", "4")]


def write(path, rows=ROWS):
    import pandas

    table = pandas.DataFrame(rows)
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_local_file_gives_its_rows_in_order(tmp_path, suffix):
    found = load_problems(write(tmp_path / f"rows.{suffix}"), "train", "q", "a")
    assert found == FOUND


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl: no such data file"):
        load_problems("none.jsonl", "train", "q", "a")


def test_a_missing_column_is_named_beside_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"no column 'question'.*\['q', 'a'\]"):
        load_problems(write(tmp_path / "rows.jsonl"), "train", "question", "a")


def test_an_empty_split_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(ValueError, match="the test split is empty"):
        load_problems(str(tmp_path / "rows.jsonl"), "test", "q", "a")


def test_a_row_without_an_answer_is_named(tmp_path):
    path = write(tmp_path / "rows.jsonl", [*ROWS, {"q": "3+3?", "a": None}])
    with pytest.raises(ValueError, match="row 2 has no question or no answer"):
        load_problems(path, "train", "q", "a")


def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text("this is not JSON\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl: cannot be read"):
        load_problems(str(tmp_path / "rows.jsonl"), "train", "q", "a")
