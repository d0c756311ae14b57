"""Tests of a data set that use functions and classes of the prompt, or packages."""

import json
from pathlib import Path

import pytest

from score_ray.tasks.code import HumanEval, Mbpp
from score_ray.types import Verdict

C, W = Verdict.CORRECT, Verdict.WRONG
MBPP_ROW = {"text": "Add one.", "test_list": ["assert f(1) == 2"]}
FUNCTION = {
    "prompt": 'def f(x):\n    """Add one."""\n',
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    "entry_point": "f",
}


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


# As tasks 32, 38 and 50 of HumanEval: the tests call the helper that the prompt defines.
POLY = {
    "prompt": """import math


def poly(xs, x):
    return sum(c * x**i for i, c in enumerate(xs))


def root(xs):
    'Find a zero.'
""",
    "test": """
def check(candidate):
    assert math.isclose(poly([-2, 1], candidate([-2, 1])), 0)
""",
    "entry_point": "root",
}
ENCODE = {
    "prompt": """def encode(s: str):
    return s[1:] + s[:1]


def decode(s: str):
    'Undo encode.'
""",
    "test": """
def check(candidate):
    for s in ('abc', 'xy'):
        assert candidate(encode(s)) == s
""",
    "entry_point": "decode",
}
ROOT, DECODE = "    return -xs[0] / xs[1]\n", "    return s[-1:] + s[:-1]\n"
NO_POLY, NO_ENCODE = "def poly(xs, x):\n    return 0\n", "def encode(s):\n    return s\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "text", "verdict"),
    [
        (POLY, ROOT, C),
        (POLY, f"{NO_POLY}\ndef root(xs):\n    return 5\n", W),
        (POLY, f"    return 5\n\n{NO_POLY}", W),
        (POLY, f"```python\n{NO_POLY}```", W),
        (POLY, f"{NO_POLY}\ndef root(xs):\n{ROOT}", C),
        (POLY, "import math\nmath.isclose = lambda a, b: True\ndef root(xs):\n    return 5\n", W),
        (ENCODE, DECODE, C),
        (ENCODE, f"{NO_ENCODE}\ndef decode(s):\n    return s\n", W),
        (ENCODE, f"{NO_ENCODE}\ndef decode(s):\n    return encode(s)\n", W),
        (ENCODE, f"def decode(s):\n{DECODE}\n{NO_ENCODE}", C),
        (ENCODE, "decode = None\n", W),
    ],
)
def test_a_program_cannot_redefine_the_helpers_that_the_tests_call(tmp_path, row, text, verdict):
    task = HumanEval("", write(tmp_path / "rows.jsonl", row))
    assert task.grade(task.problems("test")[0], text) is verdict


@pytest.mark.slow
def test_an_entry_point_that_the_program_lacks_is_not_the_stub_of_the_prompt(tmp_path):
    row = FUNCTION | {"test": "def check(candidate):\n    assert candidate(1) is None\n"}
    task = HumanEval("", write(tmp_path / "rows.jsonl", row))
    problem = task.problems("test")[0]
    assert task.grade(problem, "    return None\n") is C
    assert task.grade(problem, "```python\ndef f(x):\n    return 1\ndel f\n```") is W


NODE = {
    "prompt": """class Node:
    def __init__(self, value, after=None):
        self.value, self.after = value, after
    def __eq__(self, other):
        return (self.value, self.after) == (other.value, other.after)
    def length(self):
        return 1 + (self.after.length() if self.after else 0)


def turned(node):
    'Turn a list round.'
""",
    "test": """
def check(candidate):
    assert candidate(Node(1, Node(2))) == Node(2, Node(1))
    assert isinstance(candidate(Node(1)), Node) and candidate(None) is None
    assert candidate(Node(1, Node(2))).length() == 2
""",
    "entry_point": "turned",
}
TURN = """    before = None
    while node:
        before, node = Node(node.value, before), node.after
    return before
"""
EQUAL_NODE = """class Node:
    def __init__(self, *a): self.value = self.after = None
    def __eq__(self, other): return True
    def length(self): return 2
"""
SUBCLASS = """class Sub(Node):
    __hash__ = None
    def __eq__(self, other): return True
"""
METHOD = "    found = Node(2, Node(1))\n    found.length = lambda: 2\n    return found\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (TURN, C),
        ("    return node\n", W),
        (f"{EQUAL_NODE}\ndef turned(node):\n    return Node()\n", W),
        (f"{SUBCLASS}\ndef turned(node):\n    return Sub(0)\n", W),
        (METHOD, W),
    ],
)
def test_objects_of_a_class_in_the_prompt_are_what_that_class_says(tmp_path, text, verdict):
    task = HumanEval("", write(tmp_path / "rows.jsonl", NODE))
    assert task.grade(task.problems("test")[0], text) is verdict


PLUS = FUNCTION | {
    "test": "import numpy as np\n\n\ndef check(candidate):\n"
    "    assert np.allclose(candidate(np.ones(2)), [2, 2])\n"
}


@pytest.mark.parametrize(
    ("row", "module"),
    [
        (PLUS, "numpy"),
        (FUNCTION | {"prompt": f"import pandas.core\n{FUNCTION['prompt']}"}, "pandas.core"),
        (FUNCTION | {"test": f"{FUNCTION['test']}    from solution import f\n"}, "solution"),
        (MBPP_ROW | {"test_list": ["import scipy\nassert f(1) == 2"]}, "scipy"),
        (MBPP_ROW | {"test_setup_code": "from torch import tensor"}, "torch"),
    ],
)
def test_tests_that_import_what_the_sandbox_hides_are_refused_by_row(tmp_path, row, module):
    path = write(tmp_path / "rows.jsonl", row)
    task = HumanEval("", path) if "prompt" in row else Mbpp("", path)
    message = rf"rows\.jsonl: row 0: the tests import {module}, .* add it to task\.packages"
    with pytest.raises(ValueError, match=message):
        task.problems("test")


def test_an_import_that_the_tests_can_do_without_is_no_reason_to_refuse_them(tmp_path):
    optional = "try:\n    import numpy\nexcept ImportError:\n    numpy = None\n"
    row = FUNCTION | {"test": optional + FUNCTION["test"]}
    assert len(HumanEval("", write(tmp_path / "rows.jsonl", row)).problems("test")) == 1


@pytest.mark.slow
def test_tests_and_programs_may_import_the_packages_of_the_task(tmp_path):
    task = HumanEval("", write(tmp_path / "rows.jsonl", PLUS), packages=("numpy",))
    problem = task.problems("test")[0]
    assert task.grade(problem, "    import numpy\n    return x + numpy.ones(2)\n") is C
    assert task.grade(problem, "    return x\n") is W


@pytest.mark.parametrize(
    "test",
    [
        "assert f(Pair(1, 2)) == Pair(2, 1)",
        "p = Pair(2, 1)\nassert f(1) == p",
        "assert f(1) == [Pair(2, 1)]",
        "assert f(1) in (Pair(2, 1), 3)",
        "assert f(Pair(1, 2) + Pair(3, 4)) == 10",
    ],
)
def test_tests_that_compare_objects_of_the_programs_own_class_are_refused(tmp_path, test):
    path = write(tmp_path / "rows.jsonl", MBPP_ROW, MBPP_ROW | {"test_list": [test]})
    with pytest.raises(ValueError, match="row 1: the tests compare objects of Pair, a class of"):
        Mbpp("", path).problems("test")


@pytest.mark.parametrize(
    "test",
    [
        "assert Sort([2, 1]) == [1, 2]",
        "assert f(Pair(1, 2)) == 3",
        "assert f(1).total() == Pair(1, 2).total()",
        "from decimal import *\nassert f(1) == Decimal(1)",
        "class Pair(tuple): pass\nassert f(1) == Pair([1])",
        "assert f(ROWS(1)) == ROWS(2)",
    ],
)
def test_other_comparisons_are_not_refused(tmp_path, test):
    row = MBPP_ROW | {"test_list": [test]}
    assert len(Mbpp("", write(tmp_path / "rows.jsonl", row)).problems("test")) == 1
