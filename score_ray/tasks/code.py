"""Programs graded by their tests: MBPP, MBPP-R (repair of a given program) and HumanEval.

`Problem.answer` holds a problem's tests as JSON, so that a grading process needs only the
problem that it is sent, and no data file.
"""

import ast
import builtins
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from score_ray.config.train_source import TrainSource
from score_ray.tasks.dataset import Reading, RowSet, collect
from score_ray.tasks.program_extraction import extract, plain_newlines
from score_ray.tasks.prompts import MBPP_QUESTION
from score_ray.tasks.sandbox.packages import missing_import
from score_ray.tasks.sandbox.program_tests import ProgramTests, check_program
from score_ray.tasks.sandbox.sandbox import find_isolation
from score_ray.tasks.tables.loading import load_table
from score_ray.tasks.tables.table import check_column
from score_ray.types import Problem, UnusableRow, Verdict

# By task_id, as published; 1 to 10 are for prompts, and 511 to 600 for validation.
MBPP_SPLITS = {"train": range(601, 975), "test": range(11, 511)}


class ProgramTask(ABC):
    """What the tasks with programs have in common."""

    @abstractmethod
    def read(self, split: str) -> Reading:
        """Return what was read of the train or test split.

        Raises ValueError naming the file, the row and what is wrong with it.
        """

    def problems(self, split: str) -> Sequence[Problem]:
        """Return the problems of the train or test split; raises as `read` does."""
        return self.read(split).problems

    def unusable(self, split: str) -> Sequence[UnusableRow]:
        """Return the rows that `problems` left out."""
        return self.read(split).unusable

    def prepare(self) -> None:
        """Find out how programs are isolated; raise IsolationError if they cannot be."""
        find_isolation()

    def answer(self, text: str) -> str:
        """Return the program in the text, as `program_lines` does."""
        return program_lines(text)


@dataclass(frozen=True)
class Mbpp(ProgramTask):
    """MBPP, full or sanitized; with an `attempt_column` that holds the first program, MBPP-R.

    A local file that is named for both splits holds all rows, and is split by task_id.
    """

    train: str | tuple[TrainSource, ...]
    test: str
    attempt_column: str = ""
    skip_unusable: bool = False
    packages: tuple[str, ...] = ()

    def read(self, split: str) -> Reading:
        """Return the train or test split, read once; it is empty without a source."""
        return _read_mbpp(self, split)

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Run the program in the text against the problem's tests."""
        tests = program_tests(problem)
        return _verdict(extract(text, tests.entry_point), tests, self.packages)


@dataclass(frozen=True)
class HumanEval(ProgramTask):
    """HumanEval: functions to complete; only a test split is published."""

    train: str | tuple[TrainSource, ...]
    test: str
    skip_unusable: bool = False
    packages: tuple[str, ...] = ()

    def read(self, split: str) -> Reading:
        """Return the train or test split, read once; it is empty without a source."""
        return _read_human_eval(self, split)

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Run the function that the text holds, or completes, against the problem's tests."""
        tests = program_tests(problem)
        return _verdict(extract(text, tests.entry_point, tests.header), tests, self.packages)


def program_tests(problem: Problem) -> ProgramTests:
    """Return the tests in the answer of a problem of this module."""
    fields = json.loads(problem.answer)
    return ProgramTests(**fields | {"tests": tuple(fields["tests"])})


def program_lines(text: str) -> str:
    """Return the first program in a completion, whatever it defines; "" if there is none.

    Empty lines, and white space at the ends of lines, are left out.
    """
    lines = (line.rstrip() for line in extract(text, "").split("\n"))
    return "\n".join(line for line in lines if line)


def _verdict(program: str, tests: ProgramTests, packages: tuple[str, ...]) -> Verdict:
    return check_program(program, tests, packages=packages) if program else Verdict.NO_ANSWER


def _answer(tests: ProgramTests, packages: tuple[str, ...]) -> str:
    """Return tests as JSON; raise ValueError if they import what the sandbox does not have."""
    missing = missing_import(tests.source, packages)
    if missing:
        raise ValueError(
            f"the tests import {missing}, which programs cannot import: "
            f"add it to task.packages, or leave the row out"
        )
    return json.dumps(asdict(tests))


@cache
def _read_mbpp(task: Mbpp, split: str) -> Reading:
    columns = [("text", "prompt"), ("test_list",)]
    columns += [(task.attempt_column,)] if task.attempt_column else []
    sets, by_id = [], set()
    for source in _sources(task, split):
        holds_all = source in _sources(task, "train") and source == task.test
        if holds_all and Path(source).expanduser().is_file():
            rows = _rows(source, split, [*columns, ("task_id",)])
            by_id.add(len(sets))
            sets.append(_rows_of_split(rows, split))
        else:
            sets.append(_rows(source, split, columns))

    def problem(index: int, row: Mapping[str, Any], which: int) -> Problem:
        if which in by_id and not _has_task_id(row):
            raise ValueError("task_id must be a whole number: it decides the split")
        return _mbpp_problem(index, _Row(row), task)

    return collect(sets, problem, task.skip_unusable)


@cache
def _read_human_eval(task: HumanEval, split: str) -> Reading:
    columns = [("prompt",), ("test",), ("entry_point",)]
    sets = [_rows(source, split, columns) for source in _sources(task, split)]
    return collect(
        sets, lambda index, row, _: _human_eval_problem(index, _Row(row), task), task.skip_unusable
    )


def _sources(task: Mbpp | HumanEval, split: str) -> list[str]:
    """Return the sources of a split, which may be none."""
    given = task.train if split == "train" else task.test
    named = [given] if isinstance(given, str) else [source.path for source in given]
    return [source for source in named if source]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a data set; what is wrong with it is a ValueError."""

    values: Mapping[str, Any]

    def text(self, *columns: str) -> str:
        """Return the text in the first of these columns that the row has."""
        column = next(c for c in columns if c in self.values)
        value = self.values[column]
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{column} must be a text that is not empty; it is {value!r}")
        return plain_newlines(value)

    def texts(self, column: str) -> list[str]:
        """Return the list of texts in a column, empty if the column is missing."""
        texts = self.values.get(column) or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{column} must be a list of texts; it is {texts!r}")
        return [plain_newlines(text).strip() for text in texts]

    def syntax_tree(self, source: str, name: str) -> ast.Module:
        """Parse code of the row; the error calls it by this name."""
        try:
            return ast.parse(source)
        except SyntaxError as error:
            raise ValueError(f"{name} is not Python: {error}: {source!r}") from error


def _rows(source: str, split: str, columns: list[tuple[str, ...]]) -> RowSet:
    """Return all rows of a source; raise ValueError unless it has a column of each group."""
    table = load_table(source, split)
    for group in columns:
        check_column(table, source, *group)
    return RowSet(source, list(enumerate(table.rows)))


def _rows_of_split(rows: RowSet, split: str) -> RowSet:
    """Return the rows of a split, from a file that holds all splits, and those without a task_id.

    The latter may belong to either split, and cannot be used in any. Raises ValueError if there
    are no rows of the split.
    """
    ids = MBPP_SPLITS[split]
    chosen = [
        (number, row) for number, row in rows.rows if not _has_task_id(row) or row["task_id"] in ids
    ]
    if not chosen:
        raise ValueError(
            f"{rows.source}: no rows for the {split} split, task_id {ids[0]} to {ids[-1]}; "
            "a file that is named for one split only is used whole"
        )
    return RowSet(rows.source, chosen)


def _has_task_id(row: Mapping[str, Any]) -> bool:
    return type(row.get("task_id")) is int  # true is an int of Python too


def _mbpp_problem(index: int, row: _Row, task: Mbpp) -> Problem:
    tests = _mbpp_tests(row)
    shown = {"task": row.text("text", "prompt").strip(), "tests": "\n".join(tests.tests)}
    # An attempt at the 3-shot prompt ends with [DONE].
    column = task.attempt_column
    given = f"{row.text(column).rstrip()}\n[DONE]" if column else ""
    return Problem(index, MBPP_QUESTION.format(**shown), _answer(tests, task.packages), given)


def _mbpp_tests(row: _Row) -> ProgramTests:
    """Return the row's tests; the entry point is a function that every test calls."""
    tests = row.texts("test_list")
    if not tests:
        raise ValueError("test_list is empty; a problem needs at least one test")
    before = row.text("test_setup_code") if row.values.get("test_setup_code") else ""
    setup = "\n".join([*row.texts("test_imports"), before]).strip()
    imported = _imported(row.syntax_tree(setup, "the setup of the tests"))
    called = [_called(row.syntax_tree(test, "a test")) for test in tests]
    shared = [name for name in called[0] if all(name in names for names in called)]
    new = [name for name in shared if name not in imported and not hasattr(builtins, name)]
    if not shared:
        raise ValueError(f"no function is called in every test: {tests}")
    # A name with a capital may be a class, of which the tests make what they pass.
    return ProgramTests(setup, tuple(tests), min(new or shared, key=lambda name: name[0].isupper()))


def _called(tree: ast.Module) -> list[str]:
    """Return the plain names that are called, outer calls first."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [function.id for function in calls if isinstance(function, ast.Name)]


def _imported(tree: ast.Module) -> set[str]:
    """Return the names that imports at the top level define."""
    kinds = (ast.Import, ast.ImportFrom)
    aliases = [alias for node in tree.body if isinstance(node, kinds) for alias in node.names]
    return {alias.asname or alias.name for alias in aliases}


def _human_eval_problem(index: int, row: _Row, task: HumanEval) -> Problem:
    """Return the row's problem; the helpers in its prompt are the tests' own."""
    prompt, test, entry_point = map(row.text, ("prompt", "test", "entry_point"))
    for source, column, name in ((prompt, "prompt", entry_point), (test, "test", "check")):
        tree = row.syntax_tree(source, column)
        if name not in {s.name for s in tree.body if isinstance(s, ast.FunctionDef)}:
            raise ValueError(f"{column} does not define the function {name!r}")
    tests = ProgramTests(test, (f"check({entry_point})",), entry_point, header=prompt)
    return Problem(index, prompt, _answer(tests, task.packages))
