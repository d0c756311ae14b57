"""The program's process: runs the program, and answers what its tests ask.

Nothing here is trusted, since the program can change all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from score_ray.tasks.sandbox.channel import MessageSocket, make_exception, take_exception
from score_ray.tasks.sandbox.packing import Packer, SharedClasses, Unpacker

TYPE_CHECKING = False  # importing typing takes a fifth of the start; only type checkers need it
if TYPE_CHECKING:
    from typing import Any

RECURSION_LIMIT = 1020  # frames: the 1000 that a program expects, and those of this file below
# What the interpreter does for an operation, by the name of its method.
OPERATIONS: dict[str, Callable] = {
    "__len__": len,
    "__str__": str,
    "__repr__": repr,
    "__bool__": bool,
    "__int__": int,
    "__float__": float,
    "__abs__": abs,
    "__iter__": iter,
    "__getitem__": lambda item, key: item[key],
    "__instancecheck__": lambda kind, item: isinstance(item, kind),
    "__subclasscheck__": lambda kind, other: issubclass(other, kind),
}


def serve(program: str, shared: list, fd: int) -> None:
    """Run the program as a module, then answer the tests' requests until they close `fd`."""
    sys.setrecursionlimit(RECURSION_LIMIT)
    module = sys.modules["program"] = type(sys)("program")
    exec(compile(program, "program", "exec", dont_inherit=True), module.__dict__)
    server = ObjectServer(module.__dict__, shared, MessageSocket(fd))
    server.channel.send(["ready"])
    while True:
        server.channel.send(server.answer(server.channel.receive()))


class ObjectServer:
    """The program's objects that the tests have handles of: a handle is a place in `objects`."""

    def __init__(self, names: dict, shared: list, channel: MessageSocket) -> None:
        self.names, self.channel = names, channel
        self.shared = SharedClasses(shared, names)
        self.objects, self.numbers = [], {}
        self.library: dict = {}  # by id: what the tests passed of the standard library
        actions = (self.name, self.call, self.get, self.set, self.next, self.operate)
        self.actions = {action.__name__: action for action in actions}

    def answer(self, request: list) -> list:
        """Return the reply to a request: a value, "missing", or the exception that it raised."""
        action, *arguments = request
        try:
            return self.actions[action](*arguments)
        except BaseException as error:
            return ["raise", *self.packed(take_exception(error))]

    def name(self, name: str) -> list:
        return ["value", *self.packed(self.names[name])] if name in self.names else ["missing"]

    def call(self, number: int, data: Any, table: list) -> list:
        """Call an object; return its result, and the arguments that the call changed."""
        unpacker = Unpacker(self.shared, self.from_other, table)
        given, named = unpacker.unpack(data)
        made, before = unpacker.made, self.contents(unpacker.made)
        try:
            kind, result = "value", self.objects[number](*given, **named)
        except BaseException as error:
            kind, result = "raise", take_exception(error)
        packer = Packer(self.shared, self.to_other, made)
        data = packer.pack(result)
        both = enumerate(zip(before, self.contents(made), strict=True))
        after = [[n, packer.entry(made[n])] for n, (old, new) in both if old != new]
        return [kind, data, packer.entries(), after]

    def contents(self, made: list) -> list:
        """Return the JSON of all arguments that a call may change."""
        packer = Packer(self.shared, self.to_other, made)
        return [packer.entry(value) for value in made]

    def get(self, number: int, name: str) -> list:
        return ["value", *self.packed(getattr(self.objects[number], name))]

    def set(self, number: int, name: str, data: Any, table: list) -> list:
        setattr(self.objects[number], name, self.unpacked(data, table))
        return ["value", None, []]

    def next(self, number: int) -> list:
        item = next(self.objects[number], self)
        return ["missing"] if item is self else ["value", *self.packed(item)]

    def operate(self, number: int, name: str, data: Any, table: list) -> list:
        """Apply an operation of Python, such as len(), to an object."""
        item, given = self.objects[number], self.unpacked(data, table)
        operation = OPERATIONS.get(name)
        result = operation(item, *given) if operation else getattr(item, name)(*given)
        return ["value", *self.packed(result)]

    def call_back(self, action: str, number: int, given: tuple = (), named: Any = ()) -> Any:
        """Call a function of the tests, or take the next item of their iterator."""
        self.channel.send([action, number, *self.packed((given, dict(named)))])
        while (reply := self.channel.receive())[0] in self.actions:
            self.channel.send(self.answer(reply))
        kind, data, table = reply
        value = self.unpacked(data, table)
        if kind == "end":
            raise StopIteration
        if kind == "raise":
            raise make_exception(*value)
        return value

    def packed(self, value: Any) -> list:
        return Packer(self.shared, self.to_other).message(value)

    def unpacked(self, data: Any, table: list) -> Any:
        return Unpacker(self.shared, self.from_other, table).unpack(data)

    def to_other(self, value: Any) -> dict:
        if type(value) in (TestsFunction, TestsIterator):
            return {"tests": value.number}
        if id(value) in self.library:
            return {"global": self.library[id(value)]}
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        if not isinstance(value, type) or not issubclass(value, BaseException):
            return {"program": number}
        packer = Packer(self.shared, self.to_other)
        return {"error": [number, value.__name__, [packer.pack(b) for b in value.__bases__]]}

    def from_other(self, kind: str, pieces: Any, _: Unpacker) -> Any:
        if kind == "program":
            return self.objects[pieces]
        if kind == "function":
            return TestsFunction(self, pieces)
        if kind == "iterator":
            return TestsIterator(self, pieces)
        module, path = pieces
        found = __import__(module, fromlist=["any"])
        for name in path.split("."):
            found = getattr(found, name)
        self.library[id(found)] = pieces
        return found


class TestsFunction:
    """A function that the tests passed to the program; it runs in the tests' process."""

    def __init__(self, server: ObjectServer, number: int) -> None:
        self.server, self.number = server, number

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.server.call_back("function", self.number, given, named)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.number == self.number

    def __hash__(self) -> int:
        return self.number


class TestsIterator(TestsFunction):
    """An iterator that the tests passed to the program."""

    def __iter__(self) -> TestsIterator:
        return self

    def __next__(self) -> Any:
        return self.server.call_back("iterator", self.number)
