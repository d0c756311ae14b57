"""Data files that cannot be what their user means."""

import gzip
import json

from tests.bad_inputs.case import Case, Make, nothing
from tests.bad_inputs.inputs import ROWS, appended, both, file, parquet, removed

KIND = "data"
OFFLINE = {"HF_ENDPOINT": "http://127.0.0.1:9"}
CSV = "question,answer\n" + "".join(f"1{n}+11=,{n + 21}\n" for n in range(8))
QUESTIONS, ANSWERS = [f"1{n}+11=" for n in range(8)], [str(n + 21) for n in range(8)]
TEMPLATE = "question,answer\n{}\n"


def math(name: str, says: str, make: Make = nothing, *overrides: str) -> Case:
    """Return a case of training on the files `train.jsonl` and `test.jsonl`."""
    return Case(KIND, name, ("train", "math.yaml", *overrides), says, make)


def csv(name: str, says: str, content: str | bytes, kind: str = "csv") -> Case:
    """Return a case of training on a csv file."""
    return math(name, says, file(f"train.{kind}", content), f"task.train=train.{kind}")


def answers(name: str, says: str, values: list) -> Case:
    """Return a case of training on a parquet file with these answers."""
    make = parquet("train.parquet", {"question": QUESTIONS, "answer": values})
    return math(name, says, make, "task.train=train.parquet")


def row(answer: str, question: str = '"1+2="') -> str:
    """Return a row as JSON text; `answer` and `question` are JSON too."""
    return f'{{"question": {question}, "answer": {answer}}}'


def saved_data_set(folder) -> None:
    """Write a data set with a train and a test split as the library `datasets` saves one."""
    import datasets

    splits = {
        split: datasets.Dataset.from_dict({"question": QUESTIONS, "answer": ANSWERS})
        for split in ("train", "test")
    }
    datasets.disable_progress_bars()
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")


GOLD = [
    math("a gold answer NaN", r"train\.jsonl.*row 8", appended(row("NaN"))),
    math("a gold answer -Infinity", r"train\.jsonl.*row 8", appended(row("-Infinity"))),
    math("a gold answer null", r"train\.jsonl.*row 8", appended(row("null"))),
    math("an empty gold answer", r"train\.jsonl.*row 8", appended(row('""'))),
    math("no gold answer in a row", r"train\.jsonl.*row 8", appended('{"question": "1+2="}')),
    math("a blank question", r"train\.jsonl.*row 8", appended(row('"3"', '" \\t"'))),
    math(
        "a list as gold answer",
        r"train\.jsonl: row 8: column 'answer' holds a list",
        appended(row("[3, 4]")),
    ),
    math(
        "an object as question",
        r"train\.jsonl: row 8: column 'question' holds a mapping",
        appended(row('"3"', '{"a": 1}')),
    ),
    math("prose as gold answer", r"train\.jsonl.*row 8", appended(row('"hmm, unclear to me"'))),
    math(
        "bad rows in number",
        r"12 of 20 rows.*train\.jsonl: row 8: .*row 12: .*and 7 more",
        appended(*[row("null")] * 12),
    ),
    math(
        "a bad row in the test split",
        r"test\.jsonl.*row 8",
        appended(row("NaN"), name="test.jsonl"),
    ),
    answers(
        "a float column with NaN",
        r"train\.parquet: row 7: column 'answer'",
        [*map(float, range(7)), None],
    ),
    answers(
        "a float column with a whole number beyond 2^53",
        r"train\.parquet: row 7: .*1e\+17.*column as text",
        [*map(float, range(7)), 1e17],
    ),
    answers(
        "a binary column",
        r"8 of 8 rows.*train\.parquet: row 0: column 'answer' holds bytes",
        [b"\xff\x00"] * 8,
    ),
    math(
        "only unusable rows, left out",
        r"8 of 8 rows.*train\.jsonl: row 0: column 'answer'",
        file("train.jsonl", f"{row('null')}\n" * 8),
        "task.skip_unusable=true",
    ),
]
TABLES = [
    csv("a csv with a column twice", r"train\.csv: .*column 'answer' stands twice", "question,answer,answer\n1+1=,2,3\n"),
    csv("a csv row with a field too many", r"train\.csv.*line 3", CSV.replace("1+11=,", "1+11=,9,", 2)),
    csv("a csv row with a field too few", r"train\.csv: .*line 10: 1 fields", f"{CSV}19+11=\n"),
    csv("a csv with a header alone", r"train\.csv.*empty", "question,answer\n"),
    csv("a csv in UTF-16", r"train\.csv: .*line 1: .*UTF-8", CSV.encode("utf-16")),
    csv("a csv in Latin-1", r"train\.csv: .*line 2: .*0xe9.*UTF-8", CSV.replace("10+11=", "é?").encode("latin-1")),
    csv("a csv with an open quote", r"train\.csv: .*line 10: .*end of data", f'{CSV}"19+11=,30\n'),
    csv("a tsv with commas", r"train\.tsv.*no column 'question'", CSV, "tsv"),
    csv("a file of another kind", r"train\.xlsx.*not a data file", b"PK\x03\x04", "xlsx"),
    math("a JSON line cut off", r"train\.jsonl.*line 9", appended('{"question": "1+2="')),
    math("a JSON key twice", r"train\.jsonl.*line 9", appended('{"question": "1", "answer": "1", "answer": "2"}')),
    math("a JSON line that is a list", r"train\.jsonl.*line 9", appended("[1, 2]")),
    math("an empty file", r"train\.jsonl.*empty", file("train.jsonl", "")),
    math("zeros in place of text", r"train\.jsonl: .*line 1: not JSON", file("train.jsonl", b"\0" * 500)),
    math("jsonl in Latin-1", r"train\.jsonl: .*line 1: .*0xe9.*UTF-8", file("train.jsonl", ROWS.replace("10+", "é+").encode("latin-1"))),
    math("a json file cut off", r"train\.json: .*line 1: not JSON", file("train.json", json.dumps([{"question": "1", "answer": "1"}] * 8)[:-9]), "task.train=train.json"),
    math("a gz file cut off", r"train\.jsonl\.gz: .*ended before", file("train.jsonl.gz", gzip.compress(ROWS.encode() * 500)[:-40]), "task.train=train.jsonl.gz"),
    math("a gz file that is plain text", r"train\.jsonl\.gz: .*Not a gzipped file", file("train.jsonl.gz", ROWS), "task.train=train.jsonl.gz"),
    math("a parquet file cut off", r"train\.parquet: .*not a parquet file", file("train.parquet", b"PAR1" + b"\x15" * 90), "task.train=train.parquet"),
    math("a folder of two kinds of files", r"mixed.*csv.*jsonl", both(file("mixed/a.csv", CSV), file("mixed/b.jsonl", ROWS)), "task.train=mixed"),
    math("a folder without data files", r"empty.*no data files", file("empty/readme.txt", "x"), "task.train=empty"),
]  # fmt: skip
PLACES = [
    math("a missing file", r"nowhere\.jsonl: no such", nothing, "task.train=nowhere.jsonl"),
    math("the test file missing", r"test\.jsonl: no such", removed("test.jsonl")),
    math(
        "a missing file whose brackets would match another",
        r"exp\[1\]/train\.jsonl.*no such",
        file("exp1/train.jsonl", ROWS),
        "task.train=exp[1]/train.jsonl",
    ),
    math("a pattern of files", r"\*\.jsonl.*no such", nothing, "task.train=./*.jsonl"),
    math("a pattern of one letter", r"trai\?\.jsonl.*no such", nothing, "task.train=trai?.jsonl"),
    math("a mistyped split of a file", r"train\.jsonl@trian: no split 'trian'.*did you mean train", nothing, "task.train=train.jsonl@trian"),
    math("a mistyped split of a saved data set", r"saved@trian: no split 'trian'.*did you mean train", saved_data_set, "task.train=saved@trian"),
    math("a part of a split that is none", r"train\.jsonl@train\[:x\]", nothing, "task.train=train.jsonl@train[:x]"),
    math("an empty part of a split", r"train\.jsonl@train\[100:\].*empty", nothing, "task.train=train.jsonl@train[100:]"),
    Case(KIND, "a data set of a hub that cannot be reached", ("train", "math.yaml", "task.train=no-one/nothing"), r"no-one/nothing.*cannot be reached", environment=OFFLINE, seconds=60),
]  # fmt: skip
COLUMNS = [
    math("a mistyped column", r"train\.jsonl.*qestion.*question", nothing, "task.question_column=qestion"),
    math("a template of a column that is missing", r"train\.jsonl: no column 'body'", nothing, "task.question={body} {question}"),
    math("a template with an open brace", r"task\.question: .*'}'", nothing, "task.question={question"),
    math("a template without a column", r"task\.question: .*name columns in braces", nothing, "task.question=What is it?"),
    math("a template beside a column", r"task\.question: .*question_column", nothing, "task.question={question}", "task.question_column=answer"),
    math("a nested column of a plain one", r"train\.jsonl.*answer\.value", nothing, "task.answer_column=answer.value"),
]  # fmt: skip
ROWS_AND_SETS = [
    math("a question with a control token", r"train\.jsonl.*row 8.*eos", appended(row('"3"', '"1+2<eos>="'))),
    math("a prompt that is too long", r"train\.jsonl.*row 8.*\d+ tokens", appended(row('"3"', f'"{"1+" * 20}1="'))),
    math("too few problems", r"rollout\.problems.*9.*8", nothing, "rollout.problems=9"),
    math("a data set with weight 0", r"task\.train\.0\.weight: .*greater than 0", nothing, "task.train=[{path: train.jsonl, weight: 0}]"),
    math("a data set with a text as weight", r"task\.train\.0\.weight: .*'much'", nothing, "task.train=[{path: train.jsonl, weight: much}]"),
    math("a data set with an unknown key", r"task\.train\.0\.wieght: .*task\.train\.0\.weight", nothing, "task.train=[{path: train.jsonl, wieght: 1.0}]"),
    math("a missing file among several", r"nowhere\.jsonl: no such", nothing, "task.train=[{path: train.jsonl, weight: 1.0}, {path: nowhere.jsonl, weight: 1.0}]"),
    math("no data set in a list", r"\[\]: no such data", nothing, "task.train=[]"),
]  # fmt: skip
TESTS = '{{"task_id": {}, "text": "Add.", "code": "", "test_list": {}, "test_setup_code": ""}}\n'


def code(name: str, says: str, tests: str, *overrides: str) -> Case:
    """Return a case of training on programs with these tests, a JSON list."""
    rows = "".join(TESTS.format(n, tests) for n in range(8))
    make = both(file("train.jsonl", rows), file("test.jsonl", rows))
    return Case(KIND, name, ("train", "code.yaml", *overrides), says, make)


PROGRAMS = [
    code("a program's test that is not Python", r"train\.jsonl: row 0: a test is not Python", '["assert f(1 == 2"]'),
    code("no tests of a program", r"train\.jsonl: row 0: test_list is empty", "[]"),
    code("a test that imports a hidden package", r"train\.jsonl: row 0: .*numpy.*task\.packages", '["import numpy\\nassert f(1) == numpy.sqrt(1)"]'),
    code("a package that is not installed", r"task\.packages.*no_such_package", '["assert f(1) == 2"]', "task.packages=[no_such_package]"),
    Case(KIND, "programs without their columns", ("train", "code.yaml"), r"train\.jsonl: no column 'text' or 'prompt'"),
]  # fmt: skip
CASES = [*GOLD, *TABLES, *PLACES, *COLUMNS, *ROWS_AND_SETS, *PROGRAMS]
