"""The tests' process: runs the tests, asks the program, and writes the verdict.

The program answers through one channel, with plain values only (packing.py): no method of it
runs here, and no expected value reaches it. All that comes through the channel is hostile.
While the program answers a call it may call back what the tests passed to it: a function, or an
iterator, which stays in this process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from score_ray.tasks.sandbox.channel import (
    MISLEADING,
    MessageSocket,
    make_exception,
    take_exception,
)
from score_ray.tasks.sandbox.packing import Packer, SharedClasses, Unpacker

TYPE_CHECKING = False  # importing typing takes a fifth of the start; only type checkers need it
if TYPE_CHECKING:
    from typing import Any, NoReturn

# Operations that an object of the program is asked for. Comparisons and arithmetic are not among
# them, since they would show the program what the tests expect.
OPERATIONS = (
    "__len__", "__str__", "__repr__", "__bool__", "__int__", "__float__", "__index__", "__abs__",
    "__iter__", "__getitem__", "__setitem__", "__delitem__", "__enter__", "__instancecheck__",
    "__subclasscheck__",
)  # fmt: skip
SPECIAL_NAMES = ("__name__", "__dict__")  # the attributes with such names that can be asked for
SENDABLE_FUNCTIONS = ("builtins", "functools", "operator")  # modules of their types


def judge(sources: tuple, names: list, entry_point: str, shared: list, fds: tuple) -> None:
    """Run (header, setup, *tests) against the program behind `fds[0]`; verdict to `fds[1]`."""
    space: dict = {"__name__": "tests"}
    program = RemoteProgram(*fds, SharedClasses(shared, space))
    try:
        run(sources[0], space)
        program.await_ready()
        for name in names:
            program.define(name, space)
        run(sources[1], space)
        if entry_point:  # defined again, because header and setup may contain a stub of it
            space.pop(entry_point, None)
            program.define(entry_point, space)
        for test in sources[2:]:
            run(test, space)
    except ImportError as error:
        program.fail(str(error))
    except BaseException:
        program.end("wrong")
    program.end("correct")


def run(source: str, space: dict) -> None:
    exec(compile(source, "tests", "exec", dont_inherit=True), space)


class RemoteProgram:
    """The program as the tests see it, and the verdict on it."""

    def __init__(self, channel: int, verdict: int, shared: SharedClasses) -> None:
        self.channel, self.verdict, self.shared = MessageSocket(channel), verdict, shared
        self.objects: dict = {}  # of the program, by number
        self.own: list = []  # functions and iterators of the tests that the program may call
        self.library: dict = {}  # functions and classes of the standard library that were sent

    def end(self, verdict: str) -> NoReturn:
        """Write the verdict and exit at once, so that no test can catch the end."""
        os.write(self.verdict, verdict.encode(errors="replace"))
        os._exit(0)

    def fail(self, reason: str) -> NoReturn:
        """End because the tests cannot be run, whatever the program is."""
        self.end(f"grader_error {reason[:500]}")

    def await_ready(self) -> None:
        if self._receive() != ["ready"]:
            self.end("wrong")

    def define(self, name: str, space: dict) -> None:
        """Put the program's object of this name, if it has one, into `space`."""
        found = self.request("name", name)
        if found:
            space[name] = found[0]

    def request(self, *request: Any, arguments: Any = ()) -> list:
        """Return [the value of the reply], or [] if it is "missing"; raise what it raises.

        `arguments` are containers that the reply may name and change.
        """
        self._send(request)
        while (reply := self._receive())[0] in ("function", "iterator"):
            self._call_back(*reply)
        try:
            value = self._value_of(reply, arguments)
        except Exception:
            self.end("wrong")
        if reply[0] == "raise":
            raise value[0]
        return value

    def packer(self) -> Packer:
        return Packer(self.shared, self.to_other)

    def to_other(self, value: Any) -> dict:
        """Return what stands for a value that is not plain; end if it cannot be sent."""
        if isinstance(value, RemoteObject):
            return {"program": value._number}
        for number, known in self.objects.items():
            if known is value:  # a class of exceptions
                return {"program": number}
        if path := stdlib_path(value):
            self.library[tuple(path)] = value
            return {"global": path}
        kind = type(value)
        if hasattr(kind, "__next__"):
            return {"iterator": self._number(value)}
        if (
            callable(value)
            and kind.__module__ in SENDABLE_FUNCTIONS
            and not isinstance(value, type)
        ):
            return {"function": self._number(value)}
        self.fail(f"the tests pass {describe(value)} to the program, which cannot be sent to it")

    def from_other(self, kind: str, pieces: Any, unpacker: Unpacker) -> Any:
        if kind == "tests":
            return self.own[pieces]
        if kind == "global":
            return self.library[tuple(pieces)]
        if kind == "error":
            number, name, bases = pieces
            if number not in self.objects:
                self.objects[number] = error_class(name, [unpacker.unpack(base) for base in bases])
            return self.objects[number]
        if kind != "program" or type(pieces) is not int:
            raise ValueError(f"no {kind!r} can be received")
        return self.objects.setdefault(pieces, RemoteObject(self, pieces))

    def _number(self, value: Any) -> int:
        """Return the number under which the program may call a function or iterator."""
        for number, known in enumerate(self.own):
            if known is value:
                return number
        self.own.append(value)
        return len(self.own) - 1

    def _call_back(self, action: str, number: int, data: Any, table: list) -> None:
        """Call a function or iterator of the tests for the program, and send what it returns."""
        try:
            function = self.own[number]
            given, named = self._unpacker(table).unpack(data)
        except Exception:
            self.end("wrong")
        try:
            value = next(function) if action == "iterator" else function(*given, **named)
            kind = "value"
        except StopIteration:
            kind, value = "end", None
        except ImportError as error:
            self.fail(str(error))
        except Exception as error:
            builtin = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
            kind, value = "raise", (builtin, *take_exception(error)[1:3], {})
        self._send([kind, *self.packer().message(value)])

    def _value_of(self, reply: list, arguments: Any) -> list:
        if reply[0] == "missing":
            return []
        _, data, table, *changes = reply
        unpacker = self._unpacker(table, arguments)
        value = unpacker.unpack(data)
        for number, entry in changes[0] if changes else ():
            unpacker.fill(arguments[number], *entry)
        return [make_exception(*value) if reply[0] == "raise" else value]

    def _unpacker(self, table: list, arguments: Any = ()) -> Unpacker:
        return Unpacker(self.shared, self.from_other, table, arguments)

    def _send(self, message: Any) -> None:
        try:
            self.channel.send(message)
        except OSError:  # the program's process has ended
            self.end("wrong")

    def _receive(self) -> list:
        try:
            message = self.channel.receive()
            if type(message) is not list or not message:
                self.end("wrong")
            return message
        except Exception:
            self.end("wrong")


class RemoteObject:
    """An object in the program's process: a function, an instance, an iterator or a class.

    It equals only itself.
    """

    __slots__ = ("_number", "_program")

    def __init__(self, program: RemoteProgram, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def __call__(self, *given: Any, **named: Any) -> Any:
        packer = self._program.packer()
        data = packer.message((given, named))
        return self._program.request("call", self._number, *data, arguments=packer.kept)[0]

    def __next__(self) -> Any:
        found = self._program.request("next", self._number)
        if not found:
            raise StopIteration
        return found[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in SPECIAL_NAMES:
            raise AttributeError(name)
        return self._program.request("get", self._number, name)[0]

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.request("set", self._number, name, *self._program.packer().message(value))

    def __exit__(self, *_: object) -> None:
        self._program.request(
            "operate", self._number, "__exit__", *self._program.packer().message((None,) * 3)
        )


def operation(name: str) -> Callable:
    """Return the method of RemoteObject that asks the program for an operation."""

    def operate(self: RemoteObject, *given: Any) -> Any:
        program = self._program
        return program.request("operate", self._number, name, *program.packer().message(given))[0]

    return operate


for _name in OPERATIONS:
    setattr(RemoteObject, _name, operation(_name))


def stdlib_path(value: Any) -> list:
    """Return module and name of a function or class of the standard library; else []."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if type(module) is not str or type(name) is not str or module not in sys.modules:
        return []
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    known = module.split(".")[0] in sys.stdlib_module_names
    return [module, name] if found is value and known else []


def error_class(name: str, bases: list) -> type:
    """Return a class of exceptions that stands for one of the program."""
    safe = [b for b in bases if isinstance(b, type) and issubclass(b, Exception)]
    safe = [b for b in safe if not issubclass(b, MISLEADING)]
    return type(name, tuple(safe) or (Exception,), {})


def describe(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{'the class' if kind is value else 'an object of class'} {kind.__name__}"
