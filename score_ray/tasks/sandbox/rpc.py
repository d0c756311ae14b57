"""Remote procedure calls from a program's tests to the program, as plain data.

program_tests.py runs `serve` with the program in one sandbox, and `judge` with the tests in
another. Replies are JSON, from which only plain Python values are made: no method of the program
runs in the tests' process, and no expected value reaches the program. `judge` treats all that
comes through the channel as hostile, and no verdict depends on what `serve` does.
"""

from __future__ import annotations

import builtins
import collections
import io
import json
import os
import sys
from collections.abc import Callable
from operator import attrgetter, methodcaller

TYPE_CHECKING = False  # importing typing takes a fifth of the start; only type checkers need it
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_MESSAGE_BYTES = 2**24
JSON_TYPES = (type(None), bool, float, str)
RECURSION_LIMIT = 1020  # frames: the 1000 that a program expects, and those of this file below
MISLEADING = (StopIteration, StopAsyncIteration, ImportError)  # Python or `judge` reacts to them


class ProgramError(Exception):
    """An exception of the program that is not builtin, or that would be misleading."""


class UnsendableError(Exception):
    """An argument that the tests pass to the program and that is not plain data."""


def import_and_make(path: str, pieces: Any) -> Any:
    """Make a value of a rarely used type, whose module is imported only now."""
    module, _, name = path.partition(".")
    maker = attrgetter(name)(__import__(module))
    return maker(*pieces) if type(pieces) is tuple else maker(pieces)


ISO, RATIO = methodcaller("isoformat"), attrgetter("numerator", "denominator")
DELTA = attrgetter("days", "seconds", "microseconds")
# By full name of a plain type: the function that takes a value apart, and the one that makes it.
TYPES: dict[str, tuple[Callable, Callable]] = {
    "builtins.int": (lambda v: hex(int.__index__(v)), lambda p: int(p, 16)),
    "builtins.float": (float.__float__, float),
    "builtins.str": (str.__str__, str),
    "builtins.complex": (attrgetter("real", "imag"), lambda p: complex(*p)),
    "builtins.bytes": (bytes.hex, bytes.fromhex),
    "builtins.bytearray": (bytearray.hex, bytearray.fromhex),
    "builtins.range": (attrgetter("start", "stop", "step"), lambda p: range(*p)),
    **{f"builtins.{kind.__name__}": (list, kind) for kind in (list, tuple, set, frozenset)},
    "builtins.dict": (dict.items, dict),
    "builtins.dict_keys": (list, lambda p: dict.fromkeys(p).keys()),
    "builtins.dict_values": (list, lambda p: dict(enumerate(p)).values()),
    "builtins.dict_items": (list, lambda p: dict(p).items()),
    "collections.Counter": (dict.items, lambda p: collections.Counter(dict(p))),
    "collections.OrderedDict": (dict.items, collections.OrderedDict),
    "collections.defaultdict": (dict.items, lambda p: collections.defaultdict(None, p)),
    "collections.deque": (lambda v: [list(v), v.maxlen], lambda p: collections.deque(*p)),
    "decimal.Decimal": (str, lambda p: import_and_make("decimal.Decimal", p)),
    "fractions.Fraction": (RATIO, lambda p: import_and_make("fractions.Fraction", p)),
    "datetime.datetime": (ISO, lambda p: import_and_make("datetime.datetime.fromisoformat", p)),
    "datetime.date": (ISO, lambda p: import_and_make("datetime.date.fromisoformat", p)),
    "datetime.time": (ISO, lambda p: import_and_make("datetime.time.fromisoformat", p)),
    "datetime.timedelta": (DELTA, lambda p: import_and_make("datetime.timedelta", p)),
}


def encode(value: Any, to_handle: Callable) -> Any:
    """Return the JSON of a plain value; for any other value return `to_handle(value)`."""
    kind: Any = type(value)
    if kind in JSON_TYPES or (kind is int and -(2**63) < value < 2**63):
        return value
    if kind is list:
        return [encode(item, to_handle) for item in value]
    if isinstance(value, type) and vars(builtins).get(value.__name__) is value:
        return {"type": value.__name__}
    for base in kind.__mro__:  # an instance of a subclass is sent as its plain base type
        name = f"{base.__module__}.{base.__qualname__}"
        if name in TYPES:
            return {name: encode(TYPES[name][0](value), to_handle)}
    return to_handle(value)


def decode(data: Any, from_handle: Callable) -> Any:
    """Return the value that `encode` encoded; `from_handle` finds what was not plain."""
    if type(data) is list:
        return [decode(item, from_handle) for item in data]
    if type(data) is not dict:
        return data
    ((name, pieces),) = data.items()
    if name in TYPES:
        return TYPES[name][1](decode(pieces, from_handle))
    if name == "type" and isinstance(kind := vars(builtins)[pieces], type):
        return kind
    return from_handle(name, pieces)


class MessageSocket:
    """JSON messages over a socket, each after its length in four bytes."""

    def __init__(self, fd: int) -> None:
        both = io.FileIO(fd, "r+")
        self.pipe = io.BufferedRWPair(both, both)

    def send(self, message: Any) -> None:
        text = json.dumps(message).encode()
        self.pipe.write(len(text).to_bytes(4, "big") + text)
        self.pipe.flush()

    def receive(self) -> list:
        """Return the next message; raise ValueError if it is too long or is not JSON."""
        length = int.from_bytes(self.pipe.read(4), "big")
        if length > MAX_MESSAGE_BYTES:
            raise ValueError("a message is too long")
        return json.loads(self.pipe.read(length))


def serve(program: str, fd: int) -> None:
    """Run the program as a module, then answer the tests' requests until they close `fd`."""
    sys.setrecursionlimit(RECURSION_LIMIT)
    module = sys.modules["program"] = type(sys)("program")
    exec(compile(program, "program", "exec", dont_inherit=True), module.__dict__)
    server, channel = ObjectServer(module.__dict__), MessageSocket(fd)
    channel.send(["ready"])
    while True:
        channel.send(server.answer(channel.receive()))


class ObjectServer:
    """The program's objects that the tests have handles of: a handle is a place in `objects`."""

    def __init__(self, names: dict) -> None:
        self.names, self.objects, self.numbers = names, [], {}
        actions = (self.name, self.call, self.get, self.set, self.next)
        self.actions = {action.__name__: action for action in actions}

    def answer(self, request: list) -> list:
        """Return the reply to a request: a value, "missing", or the exception that it raised."""
        action, *arguments = request
        try:
            return self.actions[action](*arguments)
        except BaseException as error:
            return ["raise", type(error).__name__, str(error)[:1000]]

    def name(self, name: str) -> list:
        if name not in self.names:
            return ["missing"]
        return ["value", encode(self.names[name], self.to_handle)]

    def call(self, number: int, data: list) -> list:
        """Call an object; return its result, and its arguments where the call changed them."""
        given, named = decode(data, self.from_handle)
        result = encode(self.objects[number](*given, **named), self.to_handle)
        after = encode(given, self.to_handle)
        return ["value", result] if after == data[0] else ["value", result, after]

    def get(self, number: int, name: str) -> list:
        return ["value", encode(getattr(self.objects[number], name), self.to_handle)]

    def set(self, number: int, name: str, data: Any) -> list:
        setattr(self.objects[number], name, decode(data, self.from_handle))
        return ["value", None]

    def next(self, number: int) -> list:
        item = next(self.objects[number], self)
        return ["missing"] if item is self else ["value", encode(item, self.to_handle)]

    def to_handle(self, value: Any) -> dict:
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return {"handle": number}

    def from_handle(self, kind: str, pieces: Any) -> Any:
        return iter(decode(pieces, self.from_handle)) if kind == "items" else self.objects[pieces]


def judge(setup: str, tests: tuple, names: list, entry_point: str, fds: tuple[int, int]) -> None:
    """Run setup and tests against the program behind `fds[0]`; write the verdict to `fds[1]`."""
    program = RemoteProgram(*fds)
    space = {"__name__": "tests"}
    try:
        program.exchange(None)
        for name in names:
            program.define(name, space)
        exec(compile(setup, "setup", "exec", dont_inherit=True), space)
        if entry_point:  # defined again, because setup may contain a stub of it
            program.define(entry_point, space)
        for test in tests:
            exec(compile(test, "test", "exec", dont_inherit=True), space)
    except (ImportError, UnsendableError):
        program.end("grader_error")
    except BaseException:
        program.end("wrong")
    program.end("correct")


class RemoteProgram:
    """The program as the tests see it, and the verdict on it."""

    def __init__(self, channel: int, verdict: int) -> None:
        self.channel, self.verdict, self.known = MessageSocket(channel), verdict, {"handle": {}}

    def end(self, verdict: str) -> NoReturn:
        """Write the verdict and exit at once, so that no test can catch the end."""
        os.write(self.verdict, verdict.encode())
        os._exit(0)

    def request(self, *request: Any) -> tuple:
        """Return the reply as (kind, value, arguments after a call or None), or raise it."""
        kind, value, after = self.exchange(request)
        if kind == "raise":
            raise value
        return kind, value, after

    def exchange(self, request: tuple | None) -> tuple:
        """Return the reply, an exception as its value; without a valid one, end with "wrong"."""
        try:
            if request:
                self.channel.send(request)
            kind, *rest = self.channel.receive()
            if kind == "raise":
                return kind, make_exception(*rest), None
            return (kind, *decode(rest, self.from_handle), None, None)[:3]
        except Exception:
            self.end("wrong")

    def define(self, name: str, space: dict) -> None:
        """Put the program's object of this name, if it has one, into `space`."""
        kind, value, _ = self.request("name", name)
        if kind == "value":
            space[name] = value

    def to_handle(self, value: Any) -> dict:
        if isinstance(value, RemoteObject):
            return {"handle": value._number}
        if hasattr(type(value), "__next__"):
            return {"items": encode(list(value), self.to_handle)}
        raise UnsendableError(type(value).__name__)

    def from_handle(self, kind: str, number: int) -> Any:
        return self.known[kind].setdefault(number, RemoteObject(self, number))


class RemoteObject:
    """An object in the program's process: a function, an instance, an iterator or a class."""

    __slots__ = ("_number", "_program")

    def __init__(self, program: RemoteProgram, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def __call__(self, *given: Any, **named: Any) -> Any:
        data = encode([list(given), named], self._program.to_handle)
        _, value, after = self._program.request("call", self._number, data)
        for old, new in zip(given, after or (), strict=False):
            copy_changes(old, new)
        return value

    def __iter__(self) -> RemoteObject:
        return self

    def __next__(self) -> Any:
        kind, value, _ = self._program.request("next", self._number)
        if kind == "missing":
            raise StopIteration
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._program.request("get", self._number, name)[1]

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.request("set", self._number, name, encode(value, self._program.to_handle))


def copy_changes(old: Any, new: Any) -> None:
    """Make an argument of the tests equal to what the program made of its copy."""
    if type(old) is type(new) and isinstance(old, list | dict | set | bytearray):
        old.clear()
        (old.update if isinstance(old, dict | set) else old.extend)(new)


def make_exception(name: str, text: str) -> Exception:
    """Return the builtin exception of that name if it is safe to raise, else a ProgramError."""
    kind: Any = getattr(builtins, name, None)
    try:
        if issubclass(kind, Exception) and not issubclass(kind, MISLEADING):
            return kind(text)
    except TypeError:  # not a class, or one that needs more than a text
        pass
    return ProgramError(f"{name}: {text}")
