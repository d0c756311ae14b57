import gzip
import json
import time

import datasets
import pandas
import pytest

from score_ray.config.train_source import TrainSource
from score_ray.tasks.dataset import read_questions, shared_questions, sources_of
from score_ray.types import Problem, UnusableRow

ROWS = [{"q": "1+1?", "a": "2"}, {"q": "2+2?", "a": "4"}, {"q": "0+7, in binary?", "a": "0111"}]
PROBLEMS = [Problem(i, row["q"], row["a"]) for i, row in enumerate(ROWS)]
MORE = [{"q": "5+5?", "a": "10"}]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """Forbid downloads, and give each test an empty cache."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    table, suffix = pandas.DataFrame(rows), path.suffix
    if suffix in (".csv", ".tsv"):
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    elif suffix == ".parquet":
        table.to_parquet(path)
    elif suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        opened = gzip.open if suffix == ".gz" else open
        with opened(path, "wt") as file:
            file.writelines(json.dumps(r) + "\n" for r in rows)
    return str(path)


def load(source, split="train", question="q", answer="a"):
    sources = sources_of(str(source), "", question, answer)
    return read_questions(sources, split, False, str).problems


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz"])
def test_the_rows_of_a_file_keep_their_order_and_their_texts(tmp_path, suffix):
    assert load(write(tmp_path / f"rows.{suffix}")) == PROBLEMS


def test_a_file_is_used_whole_for_either_split_unless_a_part_is_named(tmp_path):
    path = write(tmp_path / "rows.jsonl")
    assert load(path, "test") == PROBLEMS
    assert [p.answer for p in load(f"{path}@train[1:]")] == ["4", "0111"]
    assert [p.answer for p in load(f"{path}@train[:1]", "test")] == ["2"]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.jsonl", "test.jsonl"),
        ("train.csv", "test.csv"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("train/a.json", "test/a.json"),
    ],
)
def test_a_folder_with_a_train_and_a_test_file_has_both_splits(tmp_path, train, test):
    write(tmp_path / "set" / train)
    write(tmp_path / "set" / test, MORE)
    (tmp_path / "set" / "README.md").write_text("About it.")
    assert load(tmp_path / "set") == PROBLEMS
    assert load(tmp_path / "set", "test") == [Problem(0, "5+5?", "10")]
    assert load(f"{tmp_path / 'set'}@test", "train") == [Problem(0, "5+5?", "10")]


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("c", "a", "b"):
        write(tmp_path / "set" / f"{name}.jsonl", [{"q": name, "a": name}])
    assert [p.question for p in load(tmp_path / "set")] == ["a", "b", "c"]


def test_a_config_of_a_folder_is_named_after_a_colon(tmp_path):
    write(tmp_path / "set/main/train.jsonl")
    write(tmp_path / "set/other/train.jsonl", MORE)
    (tmp_path / "set/README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files: main/*.jsonl\n"
        "- config_name: other\n  data_files: other/*.jsonl\n---\n"
    )
    assert load(f"{tmp_path / 'set'}:main") == PROBLEMS
    with pytest.raises(ValueError, match=r"\['main', 'other'\].*after a colon: .*set:CONFIG"):
        load(tmp_path / "set")
    assert load(f"{tmp_path / 'set'}:other@train") == [Problem(0, "5+5?", "10")]


def test_a_saved_data_set_is_read_with_and_without_splits(tmp_path):
    rows, more = datasets.Dataset.from_list(ROWS), datasets.Dataset.from_list(MORE)
    rows.save_to_disk(tmp_path / "single", num_shards=3)
    datasets.DatasetDict({"train": rows, "test": more}).save_to_disk(tmp_path / "both")
    assert load(tmp_path / "single") == PROBLEMS
    assert load(tmp_path / "both") == PROBLEMS
    assert load(tmp_path / "both", "test") == [Problem(0, "5+5?", "10")]
    assert load(f"{tmp_path / 'both'}@train[2:]", "test") == [Problem(0, "0+7, in binary?", "0111")]


def test_the_error_for_a_missing_split_lists_the_splits_and_says_what_to_do(tmp_path):
    write(tmp_path / "set/train.jsonl")
    with pytest.raises(ValueError, match=r"split 'test'.*\['train'\].*task.test=.*set@train\["):
        load(tmp_path / "set", "test")


def test_numbers_become_text(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"q": 1, "a": 2.5}])
    assert load(path) == [Problem(0, "1", "2.5")]


def test_texts_that_pandas_reads_as_missing_are_kept(tmp_path):
    path = write(
        tmp_path / "rows.csv", [{"q": "Is it 0/0?", "a": "NaN"}, {"q": "None?", "a": "None"}]
    )
    assert [p.answer for p in load(path)] == ["NaN", "None"]


def test_a_problem_says_where_it_was_read(tmp_path):
    path = write(tmp_path / "rows.jsonl")
    (problem,) = load(f"{path}@train[1:2]")
    assert (problem.source, problem.row) == (f"{path}@train[1:2]", 0)
    assert [(p.index, p.row) for p in load(path)] == [(0, 0), (1, 1), (2, 2)]


ODD = [
    {"q": "1", "a": "1", "n": {"v": "5"}, "b": "Two."},
    {"q": None, "a": "2", "n": {"v": "6"}, "b": "Two."},
    {"q": "3", "a": "bad", "n": {}, "b": "Two."},
    {"q": "4", "a": "4", "n": {"v": 8}, "b": "Three."},
]


def gold(answer):
    if answer == "bad":
        raise ValueError("no final answer in 'bad'")


def test_rows_that_cannot_be_used_are_refused_together_or_left_out(tmp_path):
    path = write(tmp_path / "rows.jsonl", ODD)
    sources = sources_of(path, "", "q", "a")
    with pytest.raises(ValueError, match=r"^2 of 4 rows .*row 1: column 'q' is missing; row 2: no"):
        read_questions(sources, "train", False, gold)
    reading = read_questions(sources, "train", True, gold)
    assert [(p.index, p.question) for p in reading.problems] == [(0, "1"), (3, "4")]
    assert reading.unusable == [
        UnusableRow(path, 1, "column 'q' is missing"),
        UnusableRow(path, 2, "no final answer in 'bad'"),
    ]


def test_a_data_set_of_which_nothing_is_left_is_an_error(tmp_path):
    write(tmp_path / "good.jsonl")
    path = write(tmp_path / "bad.jsonl", [{"q": "1", "a": "bad"}] * 3)
    given = (TrainSource(path=str(tmp_path / "good.jsonl")), TrainSource(path=path))
    with pytest.raises(ValueError, match=r"^3 of 3 rows cannot be used .*bad\.jsonl: row 0: no"):
        read_questions(sources_of(given, "", "q", "a"), "train", True, gold)


def test_a_question_is_put_together_and_an_answer_may_be_nested(tmp_path):
    path = write(tmp_path / "rows.jsonl", [ODD[0], ODD[3]])
    sources = sources_of(path, "{b} {{q}}: {q}", "question", "n.v")
    assert read_questions(sources, "train", False, gold).problems == [
        Problem(0, "Two. {q}: 1", "5"),
        Problem(1, "Three. {q}: 4", "8"),
    ]


def test_each_of_several_data_sets_may_have_its_own_columns(tmp_path):
    write(tmp_path / "1.csv", ROWS)
    write(tmp_path / "2.jsonl", [ODD[0], ODD[3]])
    write(tmp_path / "3.parquet", [{"problem": "9?", "a": "9", "level": "Level 5"}])
    first, second, third = (str(tmp_path / n) for n in ("1.csv", "2.jsonl", "3.parquet"))
    given = (
        TrainSource(path=first),
        TrainSource(path=second, question="{b} {q}", answer_column="n.v"),
        TrainSource(path=third, question_column="problem"),
    )
    problems = read_questions(sources_of(given, "{q}", "", "a"), "train", False, gold).problems
    assert problems == [
        *PROBLEMS,
        Problem(3, "Two. 1", "5"),
        Problem(4, "Three. 4", "8"),
        Problem(5, "9?", "9", level="Level 5"),
    ]
    places = [(p.source, p.row) for p in problems[2:]]
    assert places == [(first, 2), (second, 0), (second, 1), (third, 0)]


def test_question_and_answer_may_be_one_column(tmp_path):
    problems = load(write(tmp_path / "rows.jsonl", MORE), question="a")
    assert problems == [Problem(0, "10", "10")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b'{"q": "1", "a": "2"}\n{"q": \n', r"rows\.jsonl: cannot be read: line 2: "),
        ("rows.jsonl", b"this is not JSON\n", r"rows\.jsonl: cannot be read: line 1: "),
        ("rows.jsonl", b"", r"rows\.jsonl: the file is empty"),
        ("rows.json", b"{", r"rows\.json: cannot be read: line 1: "),
        ("rows.json", b"[1, 2]", "line 1: holds a number; a row is {"),
        ("rows.json", b'[{"q": "1", "a": "2"},\n{"q": "1"', "line 2: not JSON"),
        ("rows.json", b'[{"q": "1", "a": "2"}] 3', "line 1: not JSON: text after the end"),
        ("rows.jsonl", b"\0" * 500, "line 1: not JSON"),
        ("rows.csv", b"q,a\n", "the train split is empty"),
        ("rows.csv", b"q,a\n1 and 2, or?,3\n", r"line 2: 3 fields, but the header has 2"),
        ("rows.csv", b"q,a\n1,2\n4,5,6\n", "line 3: 3 fields, but the header has 2"),
        ("rows.csv", b'q,a\n1,"2\n3,4\n', "line 3: unexpected end of data"),
        ("rows.csv", b"q,a,a\n1,2,3\n", "the column 'a' stands twice in the header"),
        ("rows.tsv", b"q\tq\n1\t2\n", "the column 'q' stands twice in the header"),
        ("rows.csv", "q,a\nhöw?,2\n".encode("latin-1"), "line 2: the byte 0xf6 is not UTF-8"),
        ("rows.csv", "q,a\n1,2\n".encode("utf-16"), "line 1: the byte 0xff is not UTF-8"),
        ("rows.jsonl", '{"q": "ö", "a": "2"}'.encode("latin-1"), "0xf6 is not UTF-8"),
        ("rows.parquet", b"hello", r"rows\.parquet: cannot be read: Parquet"),
        ("rows.jsonl.gz", b"hello", r"rows\.jsonl\.gz: cannot be read: Not a gzipped file"),
        ("rows.txt", b"1+1? 2", "not a data file; json, jsonl, csv, tsv, parquet is expected"),
        ("rows.jsonl", b'{"q": "1", "a": "2", "q": "3"}', "line 1: the key 'q' stands twice"),
        ("rows.json", b'[{"q": "1", "a": "2"},\n{"q": "1", "a": "2", "a": "2"}]', "line 2: the key 'a'"),
        ("rows.jsonl", b'{"q": ["1"], "a": "2"}', "row 0: column 'q' holds a list; a text or"),
        ("rows.jsonl", b'{"q": "1", "a": {"value": "2"}}', "row 0: column 'a' holds a mapping"),
        ("rows.jsonl", b'{"q": "1", "a": "2"}\n{"q": "2", "a": null}', "row 1: column 'a' is missing"),
        ("rows.jsonl", b'{"q": "1", "a": "2"}\n{"q": "2"}', "row 1: column 'a' is missing"),
        ("rows.jsonl", b'{"q": "1", "a": "2"}\n{"q": " ", "a": "2"}', "row 1: column 'q' is empty"),
        ("rows.jsonl", b'{"q": "1", "a": "2"}\n{"q": "2", "a": "\\ud800"}', "row 1: column 'a' holds half"),
        ("rows.csv", b"q,a\n1,2\n3,\n", "row 1: column 'a' is empty"),
        ("rows.csv", b"q,a\n1,2\n3\n", "line 3: 1 fields, but the header has 2"),
        ("rows.csv", b"q,a\n1,2\n" + b"1,\n" * 8, r"^8 of 9 rows .* row 5: .* and 3 more; mend"),
    ],
)  # fmt: skip
def test_an_error_says_what_is_wrong_with_a_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / name)


def test_the_error_for_a_missing_column_lists_the_columns(tmp_path):
    with pytest.raises(ValueError, match=r"no column 'question'.*\['q', 'a'\].*question_column"):
        load(write(tmp_path / "rows.jsonl"), question="question")


@pytest.mark.parametrize("source", ["none.jsonl", "./none", "/none/at/all", "a/b/c", "~/none/x"])
def test_an_error_names_a_missing_file_or_folder(source):
    with pytest.raises(FileNotFoundError, match=f"{source}: no such data file or folder"):
        load(source)


def test_a_folder_without_data_or_with_two_kinds_of_files_is_an_error(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(ValueError, match="no data files in this folder; json, jsonl, csv"):
        load(tmp_path / "set")
    write(tmp_path / "set/a.csv")
    write(tmp_path / "set/b.parquet")
    with pytest.raises(ValueError, match=r"\.csv and \.parquet files in one folder"):
        load(tmp_path / "set")


def test_a_data_set_that_cannot_be_loaded_is_an_error_within_seconds():
    started = time.monotonic()
    with pytest.raises(
        ValueError, match="nobody/nothing:main: no such file or folder, and no data set"
    ):
        load("nobody/nothing:main")
    assert time.monotonic() - started < 5


def test_questions_in_both_splits_are_counted():
    train = [Problem(0, "1 + 1?", "2"), Problem(1, "2 + 2?", "4")]
    test = [Problem(0, "2 +\n 2?", "4"), Problem(1, "3 + 3?", "6"), Problem(2, "1 + 1?", "2")]
    assert shared_questions(train, test) == 2


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_column_named_level_names_the_difficulty(tmp_path, suffix):
    levels = ("Level 5", "Level 1", "")
    rows = [{**row, "level": level} for row, level in zip(ROWS, levels, strict=True)]
    assert [p.level for p in load(write(tmp_path / f"rows.{suffix}", rows))] == [*levels]


@pytest.mark.parametrize(
    ("values", "levels"),
    [([5, 1, 2], ["5", "1", "2"]), ([5, None, 2], ["5", "", "2"]), ([[5], [1], [2]], [""] * 3)],
)
def test_a_level_may_be_a_number_or_missing(tmp_path, values, levels):
    rows = [{**row, "level": value} for row, value in zip(ROWS, values, strict=True)]
    assert [p.level for p in load(write(tmp_path / "rows.jsonl", rows))] == levels
    assert [p.level for p in load(write(tmp_path / "rows.parquet", rows))] == levels
