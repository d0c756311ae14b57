"""A program in one sandbox, its tests in another, and between them nothing but plain data.

program_tests.py runs this file in both: `serve` where the program is, `judge` where the tests
are. The tests reach the program through `Handle`s. What comes back is JSON, of which only plain
Python values are made: no method of the program ever runs beside the tests, and no expected
value ever reaches the program. `judge` holds all that comes through the channel for hostile;
`serve` is at the program's mercy and trusted with nothing.
"""

from __future__ import annotations

import builtins
import collections
import io
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from operator import attrgetter, methodcaller

TYPE_CHECKING = False  # typing costs a fifth of a start, and only type checkers need it
if TYPE_CHECKING:
    from typing import Any, NoReturn

LONGEST = 2**24  # bytes of a message
PLAIN = (type(None), bool, float, str)
STACK = 1020  # frames: the 1000 that a program expects, and those below it here
# Exceptions that mean something to the code around a call: a program's own would mislead it.
MISLEADING = (StopIteration, StopAsyncIteration, ImportError)


class ProgramError(Exception):
    """The program raised what is no builtin exception, or a misleading one."""


class UnsendableError(Exception):
    """The tests give the program something else than plain data, such as a function."""


def late(path: str, pieces: Any) -> Any:
    """A value of a type that few programs need: its module is imported with the first one."""
    module, _, name = path.partition(".")
    maker = attrgetter(name)(__import__(module))
    return maker(*pieces) if type(pieces) is tuple else maker(pieces)


ISO, RATIO = methodcaller("isoformat"), attrgetter("numerator", "denominator")
DELTA = attrgetter("days", "seconds", "microseconds")
# A plain type's full name: what takes its values apart, and what makes them again.
TYPES: dict[str, tuple[Callable, Callable]] = {
    "builtins.int": (lambda v: hex(int.__index__(v)), lambda p: int(p, 16)),
    "builtins.float": (float.__float__, float),
    "builtins.str": (str.__str__, str),
    "builtins.complex": (attrgetter("real", "imag"), lambda p: complex(*p)),
    "builtins.bytes": (bytes.hex, bytes.fromhex),
    "builtins.bytearray": (bytearray.hex, bytearray.fromhex),
    "builtins.range": (attrgetter("start", "stop", "step"), lambda p: range(*p)),
    "builtins.list": (list, list),
    "builtins.tuple": (list, tuple),
    "builtins.set": (list, set),
    "builtins.frozenset": (list, frozenset),
    "builtins.dict": (dict.items, dict),
    "builtins.dict_keys": (list, lambda p: dict.fromkeys(p).keys()),
    "builtins.dict_values": (list, lambda p: dict(enumerate(p)).values()),
    "builtins.dict_items": (list, lambda p: dict(p).items()),
    "collections.Counter": (dict.items, lambda p: collections.Counter(dict(p))),
    "collections.OrderedDict": (dict.items, collections.OrderedDict),
    "collections.defaultdict": (dict.items, lambda p: collections.defaultdict(None, p)),
    "collections.deque": (lambda v: [list(v), v.maxlen], lambda p: collections.deque(*p)),
    "decimal.Decimal": (str, partial(late, "decimal.Decimal")),
    "fractions.Fraction": (RATIO, partial(late, "fractions.Fraction")),
    "datetime.datetime": (ISO, partial(late, "datetime.datetime.fromisoformat")),
    "datetime.date": (ISO, partial(late, "datetime.date.fromisoformat")),
    "datetime.time": (ISO, partial(late, "datetime.time.fromisoformat")),
    "datetime.timedelta": (DELTA, partial(late, "datetime.timedelta")),
}


def encode(value: Any, keep: Callable) -> Any:
    """The JSON of a plain value; of anything else what `keep` makes of it."""
    kind: Any = type(value)
    if kind in PLAIN or (kind is int and -(2**63) < value < 2**63):
        return value
    if kind is list:
        return [encode(item, keep) for item in value]
    if isinstance(value, type) and vars(builtins).get(value.__name__) is value:
        return {"type": value.__name__}
    for base in kind.__mro__:  # a subclass of a plain type goes as that type
        name = f"{base.__module__}.{base.__qualname__}"
        if name in TYPES:
            return {name: encode(TYPES[name][0](value), keep)}
    return keep(value)


def decode(data: Any, find: Callable) -> Any:
    """The value again; `find` answers for what was kept."""
    if type(data) is list:
        return [decode(item, find) for item in data]
    if type(data) is not dict:
        return data
    ((name, pieces),) = data.items()
    if name in TYPES:
        return TYPES[name][1](decode(pieces, find))
    if name == "type" and isinstance(kind := vars(builtins)[pieces], type):
        return kind
    return find(name, pieces)


class MessageSocket:
    """Messages over a socket, each with its length before it."""

    def __init__(self, fd: int) -> None:
        both = io.FileIO(fd, "r+")
        self.pipe = io.BufferedRWPair(both, both)

    def send(self, message: Any) -> None:
        text = json.dumps(message).encode()
        self.pipe.write(len(text).to_bytes(4, "big") + text)
        self.pipe.flush()

    def receive(self) -> list:
        """One message; ValueError where there is none."""
        length = int.from_bytes(self.pipe.read(4), "big")
        if length > LONGEST:
            raise ValueError("a message is too long")
        return json.loads(self.pipe.read(length))


def serve(program: str, fd: int) -> None:
    """Run the program as a module, then do what the tests ask of it, until they hang up."""
    sys.setrecursionlimit(STACK)
    module = sys.modules["program"] = type(sys)("program")
    exec(compile(program, "program", "exec", dont_inherit=True), module.__dict__)
    served, channel = Served(module.__dict__), MessageSocket(fd)
    channel.send(["ready"])
    while True:
        channel.send(served.answer(channel.receive()))


class Served:
    """The objects that the tests hold handles of, and what can be asked of them."""

    def __init__(self, names: dict) -> None:
        self.names, self.objects, self.numbers = names, [], {}

    def answer(self, request: list) -> list:
        what, *rest = request
        try:
            return getattr(self, what)(*rest)
        except BaseException as error:
            return ["raise", type(error).__name__, str(error)[:1000]]

    def name(self, name: str) -> list:
        if name not in self.names:
            return ["missing"]
        return ["value", encode(self.names[name], self.keep)]

    def call(self, number: int, data: list) -> list:
        given, named = decode(data, self.find)
        result = encode(self.objects[number](*given, **named), self.keep)
        after = encode(given, self.keep)
        return ["value", result] if after == data[0] else ["value", result, after]

    def do(self, number: int, function: str, data: list) -> list:
        done = getattr(builtins, function)(self.objects[number], *decode(data, self.find))
        return ["value", encode(done, self.keep)]

    def next(self, number: int) -> list:
        item = next(self.objects[number], self)
        return ["missing"] if item is self else ["value", encode(item, self.keep)]

    def keep(self, value: Any) -> dict:
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return {"handle": number}

    def find(self, kind: str, pieces: Any) -> Any:
        return iter(decode(pieces, self.find)) if kind == "items" else self.objects[pieces]


def judge(setup: str, tests: tuple, names: list, entry_point: str, fds: tuple[int, int]) -> None:
    """Run setup and tests against the program behind `fds[0]`; the verdict goes to `fds[1]`."""
    program = Program(*fds)
    space = {"__name__": "tests"}
    try:
        program.answer_to(None)
        for name in names:
            program.define(name, space)
        exec(compile(setup, "setup", "exec", dont_inherit=True), space)
        if entry_point:  # once more, as setup may have a stub of it
            program.define(entry_point, space)
        for test in tests:
            exec(compile(test, "test", "exec", dont_inherit=True), space)
    except (ImportError, UnsendableError):
        program.end("grader_error")
    except BaseException:
        program.end("wrong")
    program.end("correct")


class Program:
    """The program as the tests see it."""

    def __init__(self, channel: int, verdict: int) -> None:
        self.channel, self.verdict, self.kept = MessageSocket(channel), verdict, {"handle": {}}

    def end(self, verdict: str) -> NoReturn:
        """Give the verdict and stop at once, whatever the tests would have caught."""
        os.write(self.verdict, verdict.encode())
        os._exit(0)

    def ask(self, *request: Any) -> tuple:
        """What the program answers, as (kind, value, arguments after a call or None)."""
        kind, value, after = self.answer_to(request)
        if kind == "raise":
            raise value
        return kind, value, after

    def answer_to(self, request: tuple | None) -> tuple:
        """The answer, an exception as its value; garbage or a closed channel ends it all."""
        try:
            if request:
                self.channel.send(request)
            kind, *rest = self.channel.receive()
            if kind == "raise":
                return kind, exception(*rest), None
            return (kind, *decode(rest, self.find), None, None)[:3]
        except Exception:
            self.end("gone")

    def define(self, name: str, space: dict) -> None:
        kind, value, _ = self.ask("name", name)
        if kind == "value":
            space[name] = value

    def keep(self, value: Any) -> dict:
        if isinstance(value, Handle):
            return {"handle": value._number}
        if hasattr(type(value), "__next__"):
            return {"items": encode(list(value), self.keep)}
        raise UnsendableError(type(value).__name__)

    def find(self, kind: str, number: int) -> Any:
        return self.kept[kind].setdefault(number, Handle(self, number))


class Handle:
    """An object that stayed with the program: a function, an instance, an iterator, a class."""

    __slots__ = ("_number", "_program")

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def __call__(self, *given: Any, **named: Any) -> Any:
        data = encode([list(given), named], self._program.keep)
        _, value, after = self._program.ask("call", self._number, data)
        for old, new in zip(given, after or (), strict=False):
            renew(old, new)
        return value

    def __iter__(self) -> Handle:
        return self

    def __next__(self) -> Any:
        kind, value, _ = self._program.ask("next", self._number)
        if kind == "missing":
            raise StopIteration
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._program.ask("do", self._number, "getattr", [name])[1]

    def __setattr__(self, name: str, value: Any) -> None:
        data = encode([name, value], self._program.keep)
        self._program.ask("do", self._number, "setattr", data)


def renew(old: Any, new: Any) -> None:
    """Do to an argument of the tests what the program did to its copy."""
    if type(old) is type(new) and isinstance(old, list | dict | set | bytearray):
        old.clear()
        (old.update if isinstance(old, dict | set) else old.extend)(new)


def exception(name: str, text: str) -> Exception:
    """An exception to raise beside the tests: the builtin one of that name, where it is safe."""
    kind: Any = getattr(builtins, name, None)
    try:
        if issubclass(kind, Exception) and not issubclass(kind, MISLEADING):
            return kind(text)
    except TypeError:  # not a class, or one that needs more than a text
        pass
    return ProgramError(f"{name}: {text}")
