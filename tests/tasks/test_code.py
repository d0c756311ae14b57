import json
import pickle
from pathlib import Path

import pytest

from score_ray.tasks import code
from score_ray.tasks.code import HumanEval, Mbpp, program_tests
from score_ray.tasks.sandbox.program_tests import ProgramTests
from score_ray.types import Verdict

MBPP, HUMAN_EVAL = "tests/fixtures/mbpp.jsonl", "tests/fixtures/humaneval.jsonl"
ROW = {"text": "Add one.", "test_list": ["assert f(1) == 2", "assert f(2) == 3"], "task_id": 11}
FUNCTION = {
    "prompt": 'def f(x):\n    """Add one."""\n',
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    "entry_point": "f",
}
F = "def f(x):\n    return x + 1\n"


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run_here(program: str, tests: ProgramTests, packages: tuple[str, ...]) -> Verdict:
    """Run tests on a program without a sandbox; for the programs of this file only."""
    names: dict = {}
    try:
        for part in (program, tests.setup, *tests.tests):
            exec(part, names)
    except Exception:
        return Verdict.WRONG
    return Verdict.CORRECT


def solutions(path: str) -> dict:
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return {row["task_id"]: row.get("code") or row["canonical_solution"] for row in rows}


def test_a_file_of_all_mbpp_rows_is_split_as_published():
    task = Mbpp(MBPP, MBPP)
    assert [p.index for p in task.problems("train")] == [0, 1]
    assert [program_tests(p).entry_point for p in task.problems("train")] == ["count", "root"]
    assert [program_tests(p).entry_point for p in task.problems("test")] == ["add_one", "sum"]


def test_a_file_for_one_split_is_used_whole():
    task = Mbpp(MBPP, "elsewhere.jsonl")
    assert [program_tests(p).entry_point for p in task.problems("train")] == [
        "similar_elements", "is_not_prime", "heap_queue_largest", "add_one", "sum", "count", "root",
    ]  # fmt: skip


def test_an_mbpp_question_contains_the_tests():
    problem = Mbpp(MBPP, MBPP).problems("test")[0]
    assert problem.question == (
        "Write a function to add one to a number. Your code should pass these tests:\n"
        "\n"
        "assert add_one(1) == 2\n"
        "assert add_one(-1) == 0\n"
        "assert abs(add_one(0.5) - 1.5) < 1e-9"
    )
    assert program_tests(problem) == ProgramTests(
        "",
        (
            "assert add_one(1) == 2",
            "assert add_one(-1) == 0",
            "assert abs(add_one(0.5) - 1.5) < 1e-9",
        ),
        "add_one",
    )
    assert problem.given == ""


def test_the_sanitized_form_of_mbpp_is_read_from_a_json_file(tmp_path):
    row = {"prompt": "Add.", "test_imports": ["import math"], "test_list": ["assert f(1) == 2"]}
    (tmp_path / "sanitized.json").write_text(json.dumps([row]))
    problem = Mbpp("", str(tmp_path / "sanitized.json")).problems("test")[0]
    assert problem.question.startswith("Add. Your code")
    assert program_tests(problem) == ProgramTests("import math", ("assert f(1) == 2",), "f")


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_published_solutions_of_mbpp_are_correct(split, monkeypatch):
    monkeypatch.setattr(code, "check_program", run_here)
    task, known = Mbpp(MBPP, MBPP), solutions(MBPP)
    for problem, number in zip(
        task.problems(split), {"train": (601, 974), "test": (11, 12)}[split], strict=True
    ):
        assert task.grade(problem, f"{known[number]}\r\n[DONE]\n") is Verdict.CORRECT
        assert task.grade(problem, "I do not know.") is Verdict.NO_ANSWER
        assert task.grade(problem, "def other():\n    pass") is Verdict.WRONG


def test_the_first_program_of_mbpp_r_ends_as_an_attempt_does(tmp_path):
    path = write(tmp_path / "r.jsonl", ROW | {"broken": "def f(x):\r\n    return x\r\n"})
    problem = Mbpp("", path, "broken").problems("test")[0]
    assert problem.given == "def f(x):\n    return x\n[DONE]"
    assert Mbpp("", path).problems("test")[0].given == ""


def test_a_function_of_humaneval_may_be_completed_or_written_whole(monkeypatch):
    monkeypatch.setattr(code, "check_program", run_here)
    task, known = HumanEval("", HUMAN_EVAL), solutions(HUMAN_EVAL)
    problems = task.problems("test")
    assert task.problems("train") == []
    assert [program_tests(p).entry_point for p in problems] == ["doubled", "zero"]
    for problem, body in zip(problems, known.values(), strict=True):
        whole = f"Sure!\n```python\n{problem.question}{body}```"
        assert task.grade(problem, body) is Verdict.CORRECT
        assert task.grade(problem, whole) is Verdict.CORRECT
        assert task.grade(problem, "    return None\n") is Verdict.WRONG
        assert task.grade(problem, "I do not know.") is Verdict.NO_ANSWER


def test_a_function_written_whole_still_has_the_prompts_helpers(monkeypatch):
    monkeypatch.setattr(code, "check_program", run_here)
    task = HumanEval("", HUMAN_EVAL)
    text = "def zero(xs):\n    return -poly(xs, 0) / (poly(xs, 1) - poly(xs, 0))\n"
    assert task.grade(task.problems("test")[1], text) is Verdict.CORRECT


def test_a_pickled_task_is_small_and_a_pickled_problem_holds_its_tests():
    task = Mbpp(MBPP, MBPP)
    problem = task.problems("test")[0]
    assert len(pickle.dumps(task)) < 500
    assert pickle.loads(pickle.dumps(problem)) == problem


@pytest.mark.parametrize(
    ("test_list", "setup", "name"),
    [
        (["assert f(1) == 2"], "", "f"),
        (["assert set(f(1)) == set([2])"], "", "f"),
        (["assert sorted(f(g(1))) == 2", "assert f(2)"], "", "f"),
        (["assert isclose(f(1), 2)"], "from math import isclose", "f"),
        (["assert math.isclose(f(1), 2)"], "import math", "f"),
        (["assert f([Pair(1)])", "assert f([Pair(2)])"], "", "f"),
        (["assert sum(1, 2) == 3"], "", "sum"),
        (["assert (f(1)) == len([1, 2])"], "", "f"),
        (["x = f(1)\nassert x == 2"], "", "f"),
    ],
)
def test_the_entry_point_is_the_function_that_every_test_calls(tmp_path, test_list, setup, name):
    row = ROW | {"test_list": test_list, "test_setup_code": setup}
    problem = Mbpp("", write(tmp_path / "rows.jsonl", row)).problems("test")[0]
    assert program_tests(problem).entry_point == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "row 1: text must be a text that is not empty; it is None"),
        ({"text": "  "}, "row 1: text must be a text that is not empty"),
        ({"test_list": []}, "row 1: test_list is empty"),
        ({"test_list": None}, "row 1: test_list is empty"),
        ({"test_list": ["assert f(1) =="]}, "row 1: a test is not Python: .*assert f"),
        ({"test_list": ["assert 1 == 1"]}, "row 1: no function is called in every test"),
        ({"test_list": ["assert f(1)", "assert g(1)"]}, "row 1: no function is called in every"),
        ({"test_setup_code": "import"}, "row 1: the setup of the tests is not Python"),
    ],
)
def test_an_error_names_a_wrong_row_of_mbpp(tmp_path, change, message):
    path = write(tmp_path / "rows.jsonl", ROW, ROW | change)
    with pytest.raises(ValueError, match=rf"rows\.jsonl: {message}"):
        Mbpp(path, "").problems("train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW | {"text": 3}, "row 0: text must be a text that is not empty; it is 3"),
        (ROW | {"test_list": "assert f(1)"}, "row 0: test_list must be a list of texts"),
        (ROW | {"test_list": [1, 2]}, "row 0: test_list must be a list of texts"),
        (ROW | {"test_imports": "import os"}, "row 0: test_imports must be a list of texts"),
        (ROW | {"test_setup_code": 7}, "row 0: test_setup_code must be a text"),
        ({"test_list": ROW["test_list"]}, r"no column 'text' or 'prompt'; it has \['test_list'\]"),
        ({"text": "Add one."}, r"no column 'test_list'; it has \['text'\]"),
    ],
)
def test_an_error_names_a_wrong_column_of_mbpp(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"rows\.jsonl: {message}"):
        Mbpp(write(tmp_path / "rows.jsonl", row), "").problems("train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW | {"task_id": "eleven"}, "row 0: task_id must be a whole number"),
        (ROW | {"task_id": True}, "row 0: task_id must be a whole number"),
        (ROW | {"task_id": None}, "row 0: task_id must be a whole number"),
        (ROW | {"task_id": 1.5}, "row 0: task_id must be a whole number"),
        ({k: ROW[k] for k in ("text", "test_list")}, "no column 'task_id'"),
        (ROW, "no rows for the train split, task_id 601 to 974"),
    ],
)
def test_an_error_names_a_file_that_cannot_be_split(tmp_path, row, message):
    path = write(tmp_path / "rows.jsonl", row)
    with pytest.raises(ValueError, match=rf"rows\.jsonl: {message}"):
        Mbpp(path, path).problems("train")


def test_rows_without_a_task_id_are_counted_and_may_be_left_out_of_both_splits(tmp_path):
    rows = [ROW, ROW | {"task_id": None}, ROW | {"task_id": 700}, ROW | {"task_id": 7.5}]
    path = write(tmp_path / "rows.jsonl", *rows)
    with pytest.raises(ValueError, match=r"^2 of 3 rows .* row 1: task_id must .*; row 3: task_id"):
        Mbpp(path, path).problems("train")
    task = Mbpp(path, path, skip_unusable=True)
    assert [[p.row for p in task.problems(split)] for split in ("train", "test")] == [[2], [0]]
    assert [[u.row for u in task.unusable(split)] for split in ("train", "test")] == [[1, 3]] * 2


def test_errors_name_a_missing_file_and_a_missing_first_program(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
        Mbpp("none.jsonl", "none.jsonl").problems("train")
    path = write(tmp_path / "r.jsonl", ROW | {"broken": ""})
    with pytest.raises(ValueError, match=r"r\.jsonl: row 0: broken must be a text"):
        Mbpp("", path, "broken").problems("test")
    with pytest.raises(ValueError, match=r"r\.jsonl: no column 'wrong'"):
        Mbpp("", path, "wrong").problems("test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": ""}, "row 0: prompt must be a text that is not empty"),
        ({"prompt": "def f(x:"}, "row 0: prompt is not Python"),
        (
            {"prompt": "def g(x):\n    '''Add.'''\n"},
            "row 0: prompt does not define the function 'f'",
        ),
        ({"test": "assert f(1) == 2"}, "row 0: test does not define the function 'check'"),
        ({"test": "def check(:"}, "row 0: test is not Python"),
        ({"entry_point": 5}, "row 0: entry_point must be a text"),
    ],
)
def test_an_error_names_a_wrong_row_of_humaneval(tmp_path, change, message):
    path = write(tmp_path / "he.jsonl", FUNCTION | change)
    with pytest.raises(ValueError, match=rf"he\.jsonl: {message}"):
        HumanEval("", path).problems("test")


@pytest.mark.parametrize("column", ["prompt", "test", "entry_point"])
def test_an_error_names_a_missing_column_of_humaneval(tmp_path, column):
    path = write(tmp_path / "he.jsonl", {k: v for k, v in FUNCTION.items() if k != column})
    with pytest.raises(ValueError, match=rf"he\.jsonl: no column '{column}'"):
        HumanEval("", path).problems("test")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (F, Verdict.CORRECT),
        (F.replace("1", "2"), Verdict.WRONG),
        ("while True:\n    pass\n", Verdict.WRONG),
        ("Sorry.", Verdict.NO_ANSWER),
    ],
)
def test_programs_are_graded_in_the_sandbox(tmp_path, monkeypatch, text, verdict):
    from score_ray.tasks.sandbox import program_tests
    from score_ray.tasks.sandbox.processor_time import ProcessorTime
    from score_ray.tasks.sandbox.program_tests import check_program
    from score_ray.tasks.sandbox.sandbox import Limits

    quick = Limits(seconds=3.0)
    monkeypatch.setattr(program_tests, "processor_time", lambda groups: ProcessorTime(0.0, 0.0))
    monkeypatch.setattr(code, "check_program", lambda p, t, packages: check_program(p, t, quick))
    task = Mbpp("", write(tmp_path / "rows.jsonl", ROW))
    assert task.grade(task.problems("test")[0], text) is verdict


@pytest.mark.parametrize("task", [Mbpp("", ""), HumanEval("", "")])
def test_the_answer_is_the_program_without_the_text_around_it(task):
    text = "Sure:\n```python\ndef f(x):  \n\n    return x + 1\n```\nIt adds one."
    assert task.answer(text) == "def f(x):\n    return x + 1"
    assert task.answer(f"[BEGIN]\n{F}[DONE]") == "def f(x):\n    return x + 1"
    assert task.answer("I cannot write that.") == ""
    assert task.answer("") == ""
