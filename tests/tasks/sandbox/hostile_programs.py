"""Programs that try to be graded correct without being so, or to use up the machine."""

# Opens the program's end of the channel as `fds`; `say` sends a message on it.
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
    "the server of its own process": "import sys\nframe = sys._getframe()\nwhile frame:\n    if 'ObjectServer' in frame.f_globals: frame.f_globals['ObjectServer'].answer = lambda *a: ['value', True]\n    frame = frame.f_back",
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
