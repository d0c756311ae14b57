"""The channel between a program and its tests, and the exceptions that pass through it."""

from __future__ import annotations

import io
import json

TYPE_CHECKING = False  # importing typing takes a fifth of the start; only type checkers need it
if TYPE_CHECKING:
    from typing import Any

MAX_MESSAGE_BYTES = 2**24
MISLEADING = (StopIteration, StopAsyncIteration, ImportError)  # Python or `judge` reacts to them


class ProgramError(Exception):
    """An exception of the other process that would be misleading, or is none."""


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


def take_exception(error: BaseException) -> tuple:
    """Return class, arguments, text and attributes of an exception."""
    plain = (type(None), bool, int, float, str)
    given = tuple(part if type(part) in plain else str(part) for part in error.args)
    return type(error), given, str(error)[:1000], dict(vars(error))


def make_exception(kind: Any, given: tuple, text: str, attributes: dict) -> Exception:
    """Return the exception of these parts; a ProgramError if it would not be safe to raise."""
    safe = isinstance(kind, type) and issubclass(kind, Exception)
    if not safe or issubclass(kind, MISLEADING):
        return ProgramError(f"{getattr(kind, '__name__', kind)}: {text}")
    error = kind(*given) if kind.__module__ == "builtins" else kind.__new__(kind, *given)
    error.args = tuple(given)
    vars(error).update({name: v for name, v in attributes.items() if not name.startswith("__")})
    return error
