"""What tests can pass to a program, receive from it, and ask it to do, as in one interpreter."""

import pytest

from score_ray.tasks.sandbox.program_tests import (
    ProgramTests,
    UnrunnableTestsError,
    check_program,
)
from score_ray.types import Verdict

pytestmark = pytest.mark.slow
C, W = Verdict.CORRECT, Verdict.WRONG

STACK = """
class Empty(Exception):
    def __init__(self, text, code):
        super().__init__(text)
        self.code = code
class Deep(Empty): pass
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x)
    def pop(self):
        if not self.items: raise Deep('nothing left', 7)
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __getitem__(self, i): return self.items[i]
    def __setitem__(self, i, x): self.items[i] = x
    def __str__(self): return f'Stack{self.items}'
    def __bool__(self): return bool(self.items)
    def __enter__(self): return self
    def __exit__(self, *_): self.items.clear()
class Sub(Stack): pass
s = Stack()
"""
ASKS = """
s.push(3); s.push(4)
assert len(s) == 2 and s[0] == 3 and list(s) == [3, 4] and str(s) == 'Stack[3, 4]'
assert 4 in s and 5 not in s and bool(s) and isinstance(s, Stack) and not isinstance(s, Sub)
assert isinstance(Sub(), Stack) and issubclass(Sub, Stack) and not isinstance(3, Stack)
s[0] = 9
assert s.pop() == 4 and s.pop() == 9 and not s and f'{s}' == 'Stack[]'
with s as t: t.push(1)
assert len(t) == 0 and t is s
try: s.pop()
except Empty as e: assert str(e) == 'nothing left' and e.code == 7 and isinstance(e, Deep)
else: assert False
"""
RAISES = """
def raised(*given):
    try: f(*given)
    except Exception as error: return error
for kind in (ValueError, KeyError, IndexError, ZeroDivisionError, TypeError):
    assert type(raised(kind)) is kind and raised(kind).args == ('why', 3), kind
    assert str(raised(kind)) == str(kind('why', 3))
assert isinstance(raised(OSError), OSError)
"""
CASES = [
    # objects of the program, and exceptions
    (STACK, ASKS, C),
    (STACK.replace("code = code", "code = 8"), ASKS, W),
    (STACK.replace("raise Deep", "raise Exception"), ASKS, W),
    ("def f(kind): raise kind('why', 3)", RAISES, C),
    ("def f(kind): raise kind('why', 4)", RAISES, W),
    ("def f(x):\n    x.append(1)\n    raise ValueError", "x = []\ntry: f(x)\nexcept ValueError: pass\nassert x == [1]", C),
    # arguments that change
    ("def f(x): x.sort()", "x = [3, 1]\nassert f(x) is None and x == [1, 3]", C),
    ("def f(x): x[0]['a'][1].append(5)", "inner = []\nx = [{'a': (1, inner)}]\nf(x)\nassert inner == [5] and x == [{'a': (1, [5])}]", C),
    ("def f(*, x): x.add(2)", "x = {1}\nf(x=x)\nassert x == {1, 2}", C),
    ("def f(x, y): return x is y", "x = []\nassert f(x, x) and not f(x, [])", C),
    ("def f(x): return x", "x = {1: []}\nassert f(x) is x and f(x[1]) is x[1]", C),
    ("def f(x): return list(x)", "x = [1]\nassert f(x) == x and f(x) is not x", C),
    ("def f(x): x[0], x[1] = x[1], x[0]", "a, b = [1], [2]\nx = [a, b]\nf(x)\nassert x[0] is b and x[1] is a", C),
    ("def f(x): x.append(x)", "x = []\nf(x)\nassert x[0] is x", C),
    ("def f(x): return x[0] is x", "x = []\nx.append(x)\nassert f(x)", C),
    ("def f(b): b[0] = 9", "b = bytearray(b'ab')\nf(b)\nassert b == bytearray(b'\\tb')", C),
    ("def f(d): return d['new'] + len(d)", "from collections import defaultdict\nd = defaultdict(int)\nassert f(d) == 1 and 'new' in d", C),
    ("from collections import defaultdict\ndef f(): return defaultdict(list)", "assert f()[3] == []", C),
    ("def f(q): q.append(4)", "from collections import deque\nq = deque([1, 2, 3], maxlen=3)\nf(q)\nassert list(q) == [2, 3, 4]", C),
    ("def f(c): c['a'] += 1", "from collections import Counter\nc = Counter('ab')\nf(c)\nassert c == Counter('aab') and type(c) is Counter", C),
    # functions and iterators of the tests
    ("def f(g, x): return [g(i) for i in x]", "n = 10\nassert f(lambda i: i * n, [1, 2]) == [10, 20]", C),
    ("def f(g, h): return lambda x: g(h(x))", "assert f(lambda x: x + 1, lambda x: x * 2)(5) == 11", C),
    ("def f(x, key): return sorted(x, key=key)", "assert f(['bb', 'a'], key=len) == f(['bb', 'a'], lambda s: len(s)) == ['a', 'bb']", C),
    ("def f(g): return g", "g = lambda: 1\nassert f(g) is g and f(len) is len", C),
    ("def f(g, x):\n    try: return g(x)\n    except ZeroDivisionError: return 'zero'", "assert f(lambda x: 1 // x, 0) == 'zero'", C),
    ("def f(g): return g(lambda x: x + 1)", "assert f(lambda h: h(4)) == 5", C),
    ("def f(g, n): return n if n == 0 else g(n - 1)", "seen = []\ndef g(n):\n    seen.append(n)\n    return f(g, n)\nassert f(g, 3) == 0 and seen == [2, 1, 0]", C),
    ("import operator\ndef f(op, kind): return (op(2, 3), isinstance(2, kind), op is operator.add)", "import operator\nassert f(operator.add, int) == (5, True, True)", C),
    ("def f(x): return next(x) + next(x)", "import itertools\nx = itertools.count(1)\nassert f(x) == 3 and next(x) == 3", C),
    ("def f(x): return sum(x)", "assert f(i for i in range(4)) == 6 and f(map(int, '12')) == 3", C),
    ("def f(t): return t.upper()", "assert f(t='a') == 'A'", C),
    # values
    ("from collections import namedtuple\nP = namedtuple('P', 'x y')\nf = lambda p: P(p.y, p.x)", "p = f(P(1, 2))\nassert p == (2, 1) and (p.x, p.y) == (2, 1) and isinstance(p, P) and p._asdict() == {'x': 2, 'y': 1}", C),
    ("def f(p): return p._replace(x=5), p.y", "from collections import namedtuple\nP = namedtuple('P', 'x y')\nassert f(P(1, 2)) == (P(5, 2), 2)", C),
    ("def f(): return [slice(1, 2), ..., NotImplemented]", "assert f() == [slice(1, 2), ..., NotImplemented]", C),
    ("import uuid\ndef f(u): return u.int", "import uuid\nassert f(uuid.UUID(int=5)) == 5", C),
    ("def f(x): return x[1:]", "assert f('é\\ud800') == '\\ud800' and f(b'ab') == b'b'", C),
    ("def f(x): return [x, x]", "r = f([])\nr[0].append(1)\nassert r == [[1], [1]]", C),
    ("def f(n):\n    a = []\n    return [a, a]", "r = f(1)\nr[0].append(1)\nassert r == [[1], [1]] and r[0] is r[1]", C),
    ("import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nf = lambda e: E.B if e is E.A else None", "assert f(E.A) is E.B and f(E.A).name == 'B' and f(E.B) is None", C),
    # an iterator is read as far as the tests read it
    ("def f(x):\n    n = 0\n    while True:\n        yield n * n\n        n += 1", "assert 49 in f(7)", C),
    ("def f(x):\n    while True: yield 1", "assert next(f(7)) == 1 and f(7) is not None", C),
    # what a program says about its own objects is not believed
    ("class A:\n    def __eq__(self, other): return True\n    def __contains__(self, x): return True\nf = lambda x: A()", "assert f(1) == 3", W),
    ("class A:\n    def __contains__(self, x): return True\nf = lambda x: A()", "assert 3 in f(1)", W),
    ("class A:\n    def __sub__(self, other): return 0\n    def __abs__(self): return 0\nf = lambda x: A()", "assert abs(f(1) - 9) < 1e-6", W),
    ("class A:\n    def __lt__(self, other): return True\n    __gt__ = __lt__\nf = lambda x: A()", "assert f(1) < f(2)", W),
    ("def f(g):\n    import gc, sys\n    return [o for o in gc.get_objects() if type(o) is tuple and 41 in o]", "assert f(lambda: 41) == 41", W),
]  # fmt: skip


@pytest.mark.parametrize(("program", "test", "verdict"), CASES)
def test_values_are_what_they_are_in_one_interpreter(program, test, verdict):
    assert check_program(program, ProgramTests("", (test,))) is verdict


def plainly(program: str, test: str) -> Verdict:
    """Run both in this process; for the programs of this file only."""
    names: dict = {"__name__": "tests"}
    try:
        exec(program, names)
        exec(test, names)
    except Exception:
        return W
    return C


@pytest.mark.parametrize(("program", "test"), [case[:2] for case in CASES if case[2] is C])
def test_one_interpreter_agrees(program, test):
    assert plainly(program, test) is C


HEADER = """
import dataclasses, enum
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
    def turned(self): return Point(self.y, self.x)
class Slots:
    __slots__ = ('a',)
class Words(list):
    def first(self): return self[0]
class Tree:
    def __init__(self): self.parent, self.children = None, []
class Bad(ValueError):
    def __init__(self, code):
        super().__init__(f'code {code}')
        self.code = code
def f(x): pass
"""


@pytest.mark.parametrize(
    ("program", "test", "verdict"),
    [
        ("f = lambda p: p.turned()", "assert f(Point(1, 2)) == Point(2, 1)", C),
        ("f = lambda p: p", "assert f(Point(1, 2)) == Point(2, 1)", W),
        ("f = lambda p: {p: [p]}", "p = Point(1)\nassert f(p) == {Point(1): [p]} and hash(p)", C),
        ("f = lambda c: Colour.BLUE", "assert f(Colour.RED) is Colour.BLUE", C),
        ("f = lambda c: c is Colour.RED", "assert f(Colour.RED)", C),
        ("f = lambda k: k is Point", "assert f(Point)", C),
        ("def f(s): s.a += 1", "s = Slots()\ns.a = 1\nf(s)\nassert s.a == 2", C),
        ("f = lambda w: Words([*w, w.first()])", "w = f(Words('ab'))\nassert w == ['a', 'b', 'a'] and w.first() == 'a'", C),
        ("def f(t):\n    child = Tree()\n    child.parent = t\n    t.children.append(child)\n    return child", "t = Tree()\nassert f(t) is t.children[0] and t.children[0].parent is t", C),
        ("def f(x): raise Bad(x)", "try: f(4)\nexcept Bad as e: assert e.code == 4 and str(e) == 'code 4'\nelse: assert False", C),
        ("class Point:\n    x = y = 0\n    __eq__ = lambda *_: True\nf = lambda p: Point()", "assert f(Point(1, 2)) == Point(2, 1)", W),
        ("del Point\nf = lambda p: None", "assert f(Point(1, 2)) == Point(2, 1)", W),
        ("def f(p):\n    object.__setattr__(p, '__class__', 3)\n    return p", "assert f(Point(1, 2)) == 3", W),
        ("def f(p):\n    q = Point(0)\n    vars(q)['turned'] = lambda: Point(9, 9)\n    return q", "assert f(1).turned() == Point(9, 9)", W),
    ],
)  # fmt: skip
def test_classes_of_the_header_are_the_same_for_program_and_tests(program, test, verdict):
    tests = ProgramTests("", (test,), "f", HEADER)
    assert check_program(HEADER + program, tests) is verdict


@pytest.mark.parametrize(
    ("test", "what"),
    [
        ("import re\nf(re.compile('a'))", "an object of class Pattern"),
        ("from unittest.mock import Mock\nf(Mock())", "an object of class Mock"),
        ("class Own: pass\ntry: f([Own()])\nexcept Exception: pass", "an object of class Own"),
        ("f(ValueError(1))", "an object of class ValueError"),
    ],
)
def test_what_cannot_be_sent_is_named(test, what):
    with pytest.raises(UnrunnableTestsError, match=f"the tests pass {what} to the program"):
        check_program("def f(x): return x", ProgramTests("", (test,)))


@pytest.mark.parametrize(
    "test",
    [
        "x = np.array([[3, 1], [2, 4]])\nf(x)\nassert x.tolist() == [[1, 3], [2, 4]]",
        "assert g(np.array([1.5, 2.5])).dtype == np.float64 and (g(np.ones(2)) == 2).all()",
        "assert isinstance(g(np.int32(4)), np.int32) and g(np.int32(4)) == 8",
        "assert h().tolist() == np.array(['2024-01-02'], dtype='datetime64[D]').tolist()",
        "assert s().shape == (0, 3) and s().dtype == bool",
    ],
)
def test_arrays_of_numpy_are_values(test):
    program = """
import numpy as np
def f(x): x.sort()
def g(x): return (x + x).astype(x.dtype)
def h(): return np.array(['2024-01-02'], dtype='datetime64[D]')
def s(): return np.zeros((0, 3), dtype=bool)
"""
    tests = ProgramTests("import numpy as np", (test,))
    assert check_program(program, tests, packages=("numpy",)) is C
