"""Right, wrong and hostile programs against tests that no program may see."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from score_ray.tasks.sandbox import sandbox
from score_ray.tasks.sandbox.program_tests import ProgramTests, check_program
from score_ray.tasks.sandbox.sandbox import Limits, by_bubblewrap, by_kernel
from score_ray.types import Verdict

C, W, T, E, N = (
    Verdict.CORRECT,
    Verdict.WRONG,
    Verdict.TIMEOUT,
    Verdict.GRADER_ERROR,
    Verdict.NO_ANSWER,
)
SMALL = Limits(seconds=1, cpu_seconds=2, memory_bytes=200 * 2**20, temp_bytes=2**20)
WAYS = [by_kernel] + ([by_bubblewrap] if shutil.which("bwrap") else [])
SQUARE = ProgramTests("", ("assert f(3) == 9", "assert f(-4) == 16", "assert f(0) == 0"))


@pytest.fixture(autouse=True, params=WAYS, ids=lambda way: way.__name__)
def way(request, monkeypatch):
    monkeypatch.setattr(sandbox, "find_way", lambda: request.param)


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
        ("while True: pass", T),
        ("def f(x):\n    while True: pass", T),
        ("# nothing but a comment", W),
        ("", N),
        (" \n\t\n", N),
    ],
)
def test_verdicts(program, verdict):
    assert check_program(program, SQUARE, SMALL if verdict is T else Limits()) is verdict


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
        ("class Odd(Exception): pass\ndef f(x): raise Odd(x)", "try:\n    f(1)\nexcept Exception as e: assert 'Odd: 1' in str(e)\nelse: assert False", C),
        ("def f(x): return x\nlimit = [1, 2]", "assert f(limit) == [1, 2]", C),
        ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(990) == 990", C),
        ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(1100) == 1100", W),
        ("import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(50000) == 50000", C),
        ("import dataclasses, typing\n@dataclasses.dataclass\nclass A:\n    x: 'typing.ClassVar[int]' = 2\nf = lambda: A.x", "assert f() == 2", C),
        ("def f():\n    if __name__ == '__main__': return 1\n    return 2", "assert f() == 2", C),
    ],
)  # fmt: skip
def test_what_tests_may_do_with_a_program(program, test, verdict):
    assert check(program, test) is verdict


PAIR = """
class Pair:
    def __init__(self, a, b): self.a, self.b = a, b
    def total(self): return self.a + self.b
def best(pairs): return max(p.total() for p in pairs)
def swap(pair): return Pair(pair.b, pair.a)
"""


def test_objects_of_the_program_are_handed_back_to_it():
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


def test_a_builtin_is_the_programs_only_if_it_is_what_the_tests_are_for():
    total = "def sum(a, b): return a + b"
    assert check(total, "assert sum(10, 15) == 25") is C
    assert check("def f(x): return x", "assert sum(10, 15) == 25") is W
    assert check("def abs(x): return 0\ndef f(x): return 1", "assert abs(f(2) - 9) < 1") is W
    assert (
        check(f"def abs(x): return 0\n{total}", "assert abs(sum(1, 1) - 9) < 1", entry_point="sum")
        is W
    )


def test_modules_that_tests_forgot_to_import_are_the_real_ones():
    liar = "class math:\n    isclose = staticmethod(lambda a, b: True)\ndef f(x): return 1"
    assert check(liar, "assert math.isclose(f(1), 2)") is W
    assert check("import math\ndef f(x): return 2", "assert math.isclose(f(1), 2)") is C
    assert check("def bisect(x): return 2", "assert bisect(1) == 2") is C


def test_faults_of_the_tests_are_not_the_programs():
    assert check("def f(x): return x", "import no_such_module\nassert f(1)") is E
    assert check("def f(x): return x(2)", "assert f(lambda x: x) == 2") is E
    with pytest.raises(ValueError, match="at least one test"):
        ProgramTests("", ())
    with pytest.raises(ValueError, match=r"not Python.*'assert f\(1'"):
        ProgramTests("", ("assert f(1) == 1", "assert f(1"))


RIGHT = "def f(x): return x * x\n"
# The program's end of the channel, and a message on it.
WIRE = """
import os
def is_open(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
fds = [fd for fd in range(3, 1000) if is_open(fd)]
def say(text):
    text = text.encode()
    for fd in fds: os.write(fd, len(text).to_bytes(4, "big") + text)
"""
EQUAL = """
class Equal(int):
    __eq__ = __ge__ = __le__ = lambda self, other: True
    __ne__ = __gt__ = __lt__ = lambda self, other: False
    __hash__ = lambda self: 9
    __bool__ = __contains__ = lambda *_: True
"""
HOSTILE = {
    # leaving early
    "exit before the tests": "import os\nos._exit(0)",
    "exit in a call": "import os\ndef f(x): os._exit(0)",
    "sys.exit": "import sys\ndef f(x): sys.exit(0)",
    "exit at import": "raise SystemExit(0)",
    "keyboard interrupt": "def f(x): raise KeyboardInterrupt",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 1",
    "crash": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "stop iteration": "def f(x): raise StopIteration",
    "generator exit": "def f(x): raise GeneratorExit",
    # values that lie
    "equal to all": EQUAL + "def f(x): return Equal()",
    "equal to all, not an int": EQUAL.replace("(int)", "") + "def f(x): return Equal()",
    "text that lies": EQUAL.replace("int", "str") + "def f(x): return Equal('x')",
    "list that lies": EQUAL.replace("int", "list") + "def f(x): return Equal()",
    "class with a lying metaclass": EQUAL.replace("int", "type") + "def f(x): return Equal('X', (), {})",
    "not a number": "def f(x): return float('nan')",
    "mock": "from unittest import mock\nf = mock.MagicMock(return_value=mock.ANY)",
    "bound method": "def f(x): return f.__eq__",
    # patching
    "builtins": "import builtins\nfor name in ('compile', 'exec', 'AssertionError'): setattr(builtins, name, lambda *a, **k: True)\ndef f(x): return 1",
    "json": "import json\njson.dumps = lambda *a, **k: '[\"value\", true]'\ndef f(x): return 1",
    "os.write and os._exit": "import os\nos.write = os._exit = lambda *a: 0\ndef f(x): return 1",
    "unittest": "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef f(x): return 1",
    "the server of its own process": "import sys\nframe = sys._getframe()\nwhile frame:\n    if 'Served' in frame.f_globals: frame.f_globals['Served'].answer = lambda *a: ['value', True]\n    frame = frame.f_back",
    "trace": "import sys\nsys.settrace(lambda frame, event, value: frame.f_locals.update(value=9) or None)\ndef f(x): return 1",
    "module swap": "import sys\nclass Any:\n    def __getattr__(self, name): return lambda *a: True\nsys.modules['builtins'] = sys.modules['program'] = Any()",
    "replace its own type": "import sys\nsys.modules[__name__].__class__ = type('M', (type(sys),), {'__getattr__': lambda s, n: lambda *a: 9})",
    # looking for the answers
    "garbage collector": "import gc\ndef f(x):\n    return max((o for o in gc.get_objects() if isinstance(o, int)), default=1)",
    "frames": "import sys\ndef f(x):\n    frame, seen = sys._getframe(), []\n    while frame:\n        seen += [v for v in frame.f_locals.values() if type(v) is int]\n        frame = frame.f_back\n    return seen[-1] if seen else 1",
    "its own source": "import os\ndef f(x):\n    os.lseek(0, 0, 0)\n    return 9 if b'assert f(3)' in os.read(0, 2**20) else 1",
    "environment and arguments": "import os, sys\ndef f(x): return 9 if 'assert f(3)' in str(os.environ) + str(sys.orig_argv) else 1",
    "parent's memory": "def f(x):\n    with open('/proc/1/mem', 'rb') as m: return m.read(9)",
    "files of the project": "import glob\ndef f(x): return len(glob.glob('/**/*.jsonl', recursive=True))",
    # the verdict
    "printing success": "import os\nfor fd in range(3): os.write(fd, b'correct' * 99)\nprint('correct', 'passed', 'OK')\ndef f(x): return 1",
    "verdict on every descriptor": WIRE + "for fd in range(64):\n    try: os.write(fd, b'correct')\n    except OSError: pass\ndef f(x): return 1",
    "exit code": "import os\ndef f(x): os._exit(137 - 137)",
    # the channel
    "closing it": WIRE + "for fd in fds: os.close(fd)\ndef f(x): return 9",
    "closing it and sleeping": WIRE + "import time\nfor fd in fds: os.close(fd)\ntime.sleep(60)",
    "answers before the questions": WIRE + "say('[\"ready\"]')\nfor _ in range(9): say('[\"value\", true]')\ndef f(x): return 1",
    "reading the questions away": WIRE + "for fd in fds: os.read(fd, 2**20)",
    "flood": WIRE + "while True: [os.write(fd, bytes(2**16)) for fd in fds]",
    "length beyond measure": WIRE + "for fd in fds: os.write(fd, b'\\xff' * 8)",
    "promised and not sent": WIRE + "for fd in fds: os.write(fd, b'\\0\\1\\0\\0[')\nimport time\ntime.sleep(60)",
    "no JSON": WIRE + "say('correct')",
    "no text": WIRE + "for fd in fds: os.write(fd, b'\\0\\0\\0\\2\\xff\\xfe')",
    "no list": WIRE + "say('{\"kind\": \"value\"}')",
    "deep nesting": WIRE + "say('[\"ready\"]')\nsay('[\"value\", ' + '[' * 10**5 + ']' * 10**5 + ']')",
    "deep plain nesting": "x = []\nfor _ in range(10**5): x = [x]\ndef f(_): return x",
    "value that holds itself": "x = []\nx.append(x)\ndef f(_): return x",
    "long number": WIRE + "say('[\"ready\"]')\nsay('[\"value\", ' + '9' * 10**5 + ']')",
    "number of a million digits": "def f(x): return 10 ** 10**6",
    "unknown type": WIRE + "say('[\"ready\"]')\nsay('[\"value\", {\"os.system\": \"true\"}]')",
    "function as a type": WIRE + "say('[\"ready\"]')\nsay('[\"value\", {\"type\": \"eval\"}]')",
    "handle of nothing": WIRE + "say('[\"ready\"]')\nsay('[\"value\", {\"handle\": [1]}]')",
    "two keys": WIRE + "say('[\"ready\"]')\nsay('[\"value\", {\"builtins.int\": \"9\", \"builtins.str\": \"9\"}]')",
    "pieces that do not fit": WIRE + "say('[\"ready\"]')\nsay('[\"value\", {\"builtins.int\": [1, 2]}]')",
    "exception of a base kind": WIRE + "say('[\"ready\"]')\nsay('[\"raise\", \"SystemExit\", \"\"]')",
    "exception without a name": WIRE + "say('[\"ready\"]')\nsay('[\"raise\", {}, 1, 2]')",
    "zip bomb of a value": "def f(x): return ['x' * 2**20] * 100",
    "wide value": "def f(x): return [[]] * 10**7",
    # using things up
    "fork bomb": "import os\nwhile True: os.fork()",
    "memory": "x = [0]\nwhile True: x += x",
    "memory in a call": "def f(x): return 'x' * 2**40",
    "threads": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
    "busy threads": "import threading\ndef work():\n    while True: pass\nfor _ in range(4): threading.Thread(target=work).start()\ndef f(x): return 1",
    "endless output": "while True: print('x' * 9999)",
    "endless generator": "def f(x):\n    while True: yield 9",
    "recursion": "def f(x): return f(x)",
    "recursion without limit": "import sys\nsys.setrecursionlimit(2**30)\ndef f(x): return f(x)",
    "huge power": "def f(x): return 10 ** 10 ** 10",
    "sleep": "import time\ndef f(x): time.sleep(60)",
    "filling the folder": "while True: open('x', 'ab').write(bytes(2**20))",
    "many descriptors": "kept = []\nwhile True: kept.append(open('x', 'w'))",
    "stopping itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "killing everything": "import os\nos.kill(-1, 9)\nos.kill(1, 9)\ndef f(x): return 1",
    "a daemon": "import os\nif not os.fork(): os.setsid()\ndef f(x): return 1",
    "catching everything": "def f(x):\n    while True:\n        try: f(x)\n        except BaseException: pass",
    "deaf to signals": "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\nwhile True: pass",
    # the parser
    "parentheses": "(" * 10**5,
    "unary operators": "f = " + "-" * 10**5 + "1",
    "long chain": "f = " + "+".join(["x"] * 10**5),
    "indentation": "".join(" " * i + "if 1:\n" for i in range(200)),
}  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE)
def test_no_hostile_program_is_correct(attack):
    started = time.monotonic()
    assert check_program(HOSTILE[attack], SQUARE, SMALL) in (W, T)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("attack", ["fork bomb", "sleep", "flood", "a daemon", "crash"])
def test_after_an_attack_a_right_program_is_correct_and_nothing_is_left(attack):
    check_program(HOSTILE[attack], SQUARE, SMALL)
    assert check_program(RIGHT, SQUARE) is C
    mine, end = f"'parent': {os.getpid()},", time.monotonic() + 10
    while any(mine in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_swallowed_failure_of_the_channel_still_is_wrong():
    lenient = "try:\n    assert f(1) == 2\nexcept BaseException:\n    pass"
    assert check("import os\ndef f(x): os._exit(0)", lenient) is W
    assert check("def f(x): return 2", lenient) is C


def test_no_function_is_planted_beside_the_tests():
    for planted in ("eval", "print", "len"):
        program = WIRE + "say('[\"ready\"]')\n" + f'say(\'["value", {{"type": "{planted}"}}]\')'
        assert check(program, "assert callable(f)") is W
    assert check("f = len", "assert callable(f)") is C


def test_an_empty_end_does_not_pass_a_loop_over_answers():
    assert check("def f(x): raise StopIteration", "assert all(map(f, [1, 2]))") is W
    assert check("def f(x): raise ImportError", "assert f(1)") is W


def test_programs_without_end_are_told_from_wrong_ones():
    slow = "import time\ndef f(x): time.sleep(60)"
    assert check_program(slow, SQUARE, Limits(seconds=0.5)) is T
    busy = "def f(x):\n    while True: pass"
    assert check_program(busy, SQUARE, Limits(seconds=60, cpu_seconds=1)) is T


def test_many_checks_at_once_do_not_mix():
    programs = [RIGHT, "def f(x): return x"] * 6
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda program: check_program(program, SQUARE), programs))
    assert verdicts == [C, W] * 6
