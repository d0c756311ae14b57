"""Right, wrong and hostile programs are run against tests that they must not see."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from score_ray.tasks.sandbox import program_tests, sandbox
from score_ray.tasks.sandbox.processor_time import ProcessorTime
from score_ray.tasks.sandbox.program_tests import ProgramTests, UnrunnableTestsError, check_program
from score_ray.tasks.sandbox.sandbox import BUBBLEWRAP, KERNEL, Limits
from score_ray.types import Verdict
from tests.tasks.sandbox.hostile_programs import HOSTILE, WIRE

pytestmark = pytest.mark.slow
C, W, E, N = Verdict.CORRECT, Verdict.WRONG, Verdict.GRADER_ERROR, Verdict.NO_ANSWER
SMALL = Limits(seconds=1, cpu_seconds=2, memory_bytes=200 * 2**20, temp_bytes=2**20)
ISOLATIONS = [KERNEL] + ([BUBBLEWRAP] if shutil.which("bwrap") else [])
SQUARE = ProgramTests("", ("assert f(3) == 9", "assert f(-4) == 16", "assert f(0) == 0"))


@pytest.fixture(autouse=True, params=ISOLATIONS, ids=lambda isolation: isolation.name)
def isolation(request, monkeypatch):
    monkeypatch.setattr(sandbox, "find_isolation", lambda: request.param)
    # The limits of these tests are too short for a machine on which other tests run.
    monkeypatch.setattr(program_tests, "processor_time", lambda groups: ProcessorTime(0.0, 0.0))


def check(program: str, *tests: str, setup: str = "", entry_point: str = "") -> Verdict:
    return check_program(program, ProgramTests(setup, tests, entry_point))


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("def f(x): return x * x", C),
        ("def f(x):\r\n\treturn x ** 2\r\n", C),
        ("f = lambda x: x * x", C),
        ("import math\nf = lambda x: math.prod([x, x])", C),
        ("print('hello')\ndef f(x):\n    print(x)\n    return x * x", C),
        ("class F:\n    def __call__(self, x): return x * x\nf = F()", C),
        ("def f(x): return x + x + x", W),
        ("def f(x): print(x * x)", W),
        ("def f(x, y): return x * x", W),
        ("def g(x): return x * x", W),
        ("f = 9", W),
        ("def f(x: return x * x", W),
        ("raise ValueError('no')\ndef f(x): return x * x", W),
        ("import numpy\ndef f(x): return x * x", W),
        ("def f(x): return input() or x * x", W),
        ("x = '\0'\ndef f(x): return x * x", W),
        ("while True: pass", W),
        ("def f(x):\n    while True: pass", W),
        ("# nothing but a comment", W),
        ("", N),
        (" \n\t\n", N),
    ],
)
def test_a_program_gets_the_verdict_that_its_tests_give(program, verdict):
    assert check_program(program, SQUARE, SMALL if "while" in program else Limits()) is verdict


VALUES = [
    "None", "True", "3", "2**64", "-(10**4000)", "2.5", "1e-320", "float('inf')", "-0.0", "2j",
    "'text'", "'\\ud800\\0é'", "b'\\0\\xff'", "bytearray(b'x')", "[1, [2, []]]", "(1, (2,), ())",
    "{1, 2}", "frozenset({(1, 2)})", "{1: 'a', (1, 2): [3], 'x': {None: {}}}", "range(1, 9, 2)",
    "Counter('abca')", "OrderedDict([(2, 1), (1, 2)])", "deque([1, 2], maxlen=3)",
    "Decimal('1.10')", "Fraction(1, 3)", "datetime(2024, 2, 29, 12, 30, 1, 5)", "date(2024, 2, 29)",
    "datetime(2024, 1, 1, tzinfo=timezone.utc)", "time(1, 2)", "timedelta(-1, 2, 3)",
]  # fmt: skip
IMPORTS = """
from collections import *
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
"""


def test_plain_values_travel_there_and_back_unchanged():
    tests = [f"v = {v}\nassert f(v) == v and type(f(v)) is type(v)" for v in VALUES]
    tests += [
        f"assert made[{i}] == {v} and repr(made[{i}]) == repr({v})" for i, v in enumerate(VALUES)
    ]
    program = f"{IMPORTS}\ndef f(x): return x\nmade = [{', '.join(VALUES)}]"
    assert check(program, *tests, setup=IMPORTS) is C


@pytest.mark.parametrize(
    ("program", "test", "verdict"),
    [
        ("f = lambda: float('nan')", "x = f()\nassert x != x", C),
        ("f = lambda: {1: 2}.keys()", "assert f() == {1} and list(f()) == [1]", C),
        ("f = lambda: {1: 2}.values()", "assert list(f()) == [2]", C),
        ("f = lambda: {1: 2}.items()", "assert f() == {(1, 2)}", C),
        ("f = lambda x: map(str, x)", "assert list(f([1, 2])) == ['1', '2']", C),
        ("f = lambda x: map(str, x)", "assert f([1, 2]) == ['1', '2']", W),
        ("def f():\n    while True: yield 1", "import itertools\nassert list(itertools.islice(f(), 3)) == [1, 1, 1]", C),
        ("def f(x): return [next(x), next(x)]", "assert f(iter([1, 2, 3])) == [1, 2]", C),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\nf = lambda: P(1, 2)", "assert f() == (1, 2)", C),
        ("from collections import defaultdict\ndef f():\n    d = defaultdict(int)\n    d[1] += 1\n    return d", "assert f() == {1: 1}", C),
        ("f = lambda x, kind: isinstance(x, kind)", "assert f(1, int) is True and f(1, str) is False", C),
        ("f = lambda x: type(x)", "assert f(1) is int", C),
        ("def f(x): x.sort()", "x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]", C),
        ("def f(x): x[0].append(1)", "x = [[], 2]\nf(x)\nassert x == [[1], 2]", C),
        ("def f(x, y): x.pop('a'); y.add(1)", "x, y = {'a': 1}, set()\nf(x, y)\nassert (x, y) == ({}, {1})", C),
        ("def f(x): return x", "x = [1]\nassert f(x) == x == [1]", C),
        ("def f(*a, **k): return [a, k]", "assert f(1, b=2) == [(1,), {'b': 2}]", C),
        ("def f(x): raise KeyError(x)", "try:\n    f(1)\nexcept KeyError: pass\nelse: assert False", C),
        ("class Odd(Exception): pass\ndef f(x): raise Odd(x)", "try:\n    f(1)\nexcept Exception as e: assert (str(e), type(e).__name__) == ('1', 'Odd')\nelse: assert False", C),
        ("def f(x): return x\nlimit = [1, 2]", "assert f(limit) == [1, 2]", C),
        ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(990) == 990", C),
        ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(1100) == 1100", W),
        ("import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(50000) == 50000", C),
        ("import dataclasses, typing\n@dataclasses.dataclass\nclass A:\n    x: 'typing.ClassVar[int]' = 2\nf = lambda: A.x", "assert f() == 2", C),
        ("def f():\n    if __name__ == '__main__': return 1\n    return 2", "assert f() == 2", C),
    ],
)  # fmt: skip
def test_tests_can_call_a_program_in_many_ways(program, test, verdict):
    assert check(program, test) is verdict


PAIR = """
class Pair:
    def __init__(self, a, b): self.a, self.b = a, b
    def total(self): return self.a + self.b
def best(pairs): return max(p.total() for p in pairs)
def swap(pair): return Pair(pair.b, pair.a)
"""


def test_objects_of_the_program_can_be_passed_back_to_it():
    assert check(PAIR, "assert best([Pair(5, 24), Pair(15, 25)]) == 40") is C
    assert check(PAIR, "p = swap(Pair(1, 2))\nassert (p.a, p.b, p.total()) == (2, 1, 3)") is C
    assert (
        check(PAIR, "p = Pair(1, 2)\np.a = [7]\nassert p.a == [7]\nassert not hasattr(p, 'c')") is C
    )


def test_setup_may_use_what_the_program_defines():
    setup = "root = Pair(1, None)\nroot.b = Pair(2, 3)"
    assert check(PAIR, "assert swap(root).a.total() == 5", setup=setup) is C


HUMAN_EVAL = "def check(candidate):\n    assert candidate([1, 2]) == helper(3)\n"
STUB = "import math\ndef helper(x): return x\ndef f(xs):\n    '''A stub.'''\n"


def test_a_check_function_gets_the_program_and_the_helpers_of_setup():
    good, bad = "def f(xs): return sum(xs)", "def f(xs): return 4\ndef helper(x): return 4"
    assert check(good, HUMAN_EVAL, "check(f)", setup=STUB, entry_point="f") is C
    assert check(bad, HUMAN_EVAL, "check(f)", setup=STUB, entry_point="f") is W
    assert check("x = 1", HUMAN_EVAL, "check(f)", setup=STUB, entry_point="f") is W


def test_a_builtin_is_taken_from_the_program_only_if_the_tests_test_it():
    total = "def sum(a, b): return a + b"
    assert check(total, "assert sum(10, 15) == 25") is C
    assert check("def f(x): return x", "assert sum(10, 15) == 25") is W
    assert check("def abs(x): return 0\ndef f(x): return 1", "assert abs(f(2) - 9) < 1") is W
    assert (
        check(f"def abs(x): return 0\n{total}", "assert abs(sum(1, 1) - 9) < 1", entry_point="sum")
        is W
    )


def test_modules_that_tests_forgot_to_import_are_not_taken_from_the_program():
    liar = "class math:\n    isclose = staticmethod(lambda a, b: True)\ndef f(x): return 1"
    assert check(liar, "assert math.isclose(f(1), 2)") is W
    assert check("import math\ndef f(x): return 2", "assert math.isclose(f(1), 2)") is C
    assert check("def bisect(x): return 2", "assert bisect(1) == 2") is C


def test_tests_that_cannot_be_run_are_an_error_that_says_why():
    program = "def f(x): return x"
    with pytest.raises(UnrunnableTestsError, match="No module named 'no_such_module'"):
        check(program, "import no_such_module\nassert f(1)")
    with pytest.raises(UnrunnableTestsError, match="pass an object of class Own to the program"):
        check(program, "class Own: pass\nassert f(Own())")
    with pytest.raises(UnrunnableTestsError, match="pass the class Own to the program"):
        check(program, "class Own: pass\nassert f(Own)")
    with pytest.raises(UnrunnableTestsError, match="pass an object of class module to the program"):
        check(program, "import math\nassert f(math)")


def test_tests_that_are_no_tests_are_refused():
    with pytest.raises(ValueError, match="at least one test"):
        ProgramTests("", ())
    with pytest.raises(ValueError, match=r"not Python.*'assert f\(1'"):
        ProgramTests("", ("assert f(1) == 1", "assert f(1"))


RIGHT = "def f(x): return x * x\n"


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_program_is_not_graded_correct(attack):
    started = time.monotonic()
    assert check_program(HOSTILE[attack], SQUARE, SMALL) is W
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("attack", ["fork bomb", "sleep", "flood", "a daemon", "crash"])
def test_after_an_attack_a_right_program_is_correct_and_no_process_is_left(attack):
    check_program(HOSTILE[attack], SQUARE, SMALL)
    assert check_program(RIGHT, SQUARE) is C
    mine, end = f"'parent': {os.getpid()},", time.monotonic() + 10
    while any(mine in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_program_that_ends_is_wrong_even_if_the_tests_catch_every_exception():
    lenient = "try:\n    assert f(1) == 2\nexcept BaseException:\n    pass"
    assert check("import os\ndef f(x): os._exit(0)", lenient) is W
    assert check("def f(x): return 2", lenient) is C


def test_a_program_cannot_send_a_builtin_function_to_the_tests():
    for planted in ("eval", "print", "len"):
        program = WIRE + "say('[\"ready\"]')\n" + f'say(\'["value", {{"type": "{planted}"}}]\')'
        assert check(program, "assert callable(f)") is W
    assert check("f = len", "assert callable(f)") is C


def test_stop_iteration_and_import_error_of_a_program_are_wrong():
    assert check("def f(x): raise StopIteration", "assert all(map(f, [1, 2]))") is W
    assert check("def f(x): raise ImportError", "assert f(1)") is W


def test_a_program_that_exceeds_its_limits_is_wrong():
    slow = "import time\ndef f(x): time.sleep(60)"
    assert check_program(slow, SQUARE, Limits(seconds=0.5)) is W
    busy = "def f(x):\n    while True: pass"
    assert check_program(busy, SQUARE, Limits(seconds=60, cpu_seconds=1)) is W
    greedy = "def f(x): return bytearray(2**33)"
    assert check_program(greedy, SQUARE, SMALL) is W


@pytest.mark.parametrize(
    ("used", "waited", "verdict"),
    [(0.0, 0.0, W), (0.4, 0.05, W), (0.1, 9.0, Verdict.TIMEOUT), (0.5, 9.0, W)],
)
def test_a_program_that_a_busy_machine_keeps_waiting_is_a_timeout(
    monkeypatch, used, waited, verdict
):
    spent = iter([ProcessorTime(0.0, 0.0), *[ProcessorTime(used, waited)] * 9])
    monkeypatch.setattr(program_tests, "processor_time", lambda groups: next(spent))
    endless = "def f(x):\n    while True: pass"
    assert check_program(endless, SQUARE, Limits(seconds=0.6)) is verdict


def test_time_that_a_program_had_to_wait_is_added_to_its_time(monkeypatch):
    spent = iter([ProcessorTime(0.0, 0.0), *[ProcessorTime(0.0, 9.0)] * 9])
    monkeypatch.setattr(program_tests, "processor_time", lambda groups: next(spent))
    monkeypatch.setattr(program_tests, "PATIENCE", 20.0)
    slow = "import time\ndef f(x):\n    time.sleep(1.1 if x == 3 else 0)\n    return x * x"
    assert check_program(slow, SQUARE, Limits(seconds=1)) is C


def test_a_program_that_exhausts_the_process_of_the_tests_is_wrong():
    endless = "def f():\n    while True: yield 'x' * 10**6"
    assert check_program(endless, ProgramTests("", ("assert list(f()) == []",)), SMALL) is W
    slow = "def f(): return 10 ** (4 * 10**6)"
    quick = Limits(seconds=60, cpu_seconds=1)
    assert check_program(slow, ProgramTests("", ("assert f() ** 99 == 1",)), quick) is W


def test_a_process_of_the_tests_that_somebody_else_killed_is_a_grader_error():
    suicide = ProgramTests("import os, signal", ("os._exit(128 + signal.SIGKILL)",))
    assert check_program("def f(): pass", suicide) is E
    assert check_program("def f(): pass", ProgramTests("import os", ("os._exit(1)",))) is W


def test_concurrent_checks_do_not_mix_verdicts():
    programs = [RIGHT, "def f(x): return x"] * 6
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda program: check_program(program, SQUARE), programs))
    assert verdicts == [C, W] * 6
