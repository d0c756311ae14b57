"""Takes Python values apart into JSON and makes them again, for a closed set of types.

Runs in both processes of a graded program (rpc.py), and treats all JSON as hostile: only the
types of plain_values.py are made, and classes that the trusted header of the tests defines. Lists
and other values that can change are entries of a table, so that what was one object stays one
object, and may hold itself. No method of the program runs while its values are made.
"""

from __future__ import annotations

import builtins
import collections
import enum
from collections.abc import Callable

from score_ray.tasks.sandbox.plain_values import (
    CONTAINERS,
    JSON_TYPES,
    SPREAD,
    VALUES,
    known_type,
    pairs,
)

TYPE_CHECKING = False  # importing typing takes a fifth of the start; only type checkers need it
if TYPE_CHECKING:
    from typing import Any


class SharedClasses:
    """The classes of the trusted header, which both processes have under the same names."""

    def __init__(self, names: list, space: dict) -> None:
        self.names, self.space = names, space

    def name_of(self, kind: type) -> str:
        """Return the name of a shared class; "" if the class is another one."""
        name = kind.__name__
        return name if name in self.names and self.space.get(name) is kind else ""

    def get(self, name: str) -> Any:
        if name not in self.names or not isinstance(self.space.get(name), type):
            raise ValueError(f"no class {name!r} is shared")
        return self.space[name]


def plain_base(kind: type, table: dict) -> str:
    """Return the full name of the first class of the table that `kind` is or extends; or ""."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
    return next((name for name in names if name in table), "")


def attributes_of(value: Any) -> list:
    """Return names and values of an instance's attributes in turn, those in slots too."""
    found = dict(vars(value)) if hasattr(value, "__dict__") else {}
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                found[name] = getattr(value, name)
    return pairs({name: v for name, v in found.items() if not name.startswith("__")})


def fill_instance(old: Any, parts: list) -> None:
    """Replace the attributes of an instance of a shared class.

    Raises ValueError for an attribute that would hide a method of the class.
    """
    if hasattr(old, "__dict__"):
        vars(old).clear()
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        hidden = next((vars(base)[name] for base in type(old).__mro__ if name in vars(base)), None)
        if name.startswith("__") or callable(hidden) or isinstance(hidden, classmethod | property):
            raise ValueError(f"{name!r} cannot be an attribute")
        if type(hidden).__name__ != "cached_property":  # computed again when it is asked for
            object.__setattr__(old, name, value)


class Packer:
    """Takes values apart. `known` are containers that the other process has under a number.

    `to_other` makes the JSON of every value that is not plain.
    """

    def __init__(self, shared: SharedClasses, to_other: Callable, known: Any = ()) -> None:
        self.shared, self.to_other, self.table = shared, to_other, []
        self.places = {id(value): {"known": n} for n, value in enumerate(known)}
        self.kept: list = []  # the containers of the table: an id is unique as long as they live

    def message(self, value: Any) -> list:
        """Return the JSON of a value and its table."""
        return [self.pack(value), self.entries()]

    def entries(self) -> list:
        """Return the table, with the parts of all containers that it came to hold."""
        for value in self.kept:  # grows while it is read
            self.table.append(self.entry(value))
        return self.table

    def pack(self, value: Any) -> Any:
        """Return the JSON of a value; a container is a place in the table."""
        kind: Any = type(value)
        if kind in JSON_TYPES or (kind is int and -(2**63) < value < 2**63):
            return value
        if isinstance(value, type):
            return self._pack_class(value)
        if isinstance(value, BaseException):
            return self.to_other(value)
        if name := self.shared.name_of(kind):
            if isinstance(value, enum.Enum):
                return {"member": [name, value.name]}
            if plain_base(kind, VALUES):
                return {"extended": [name, self._pack_plain(value), self._attributes(value)]}
            return self._place(value)
        if plain_base(kind, CONTAINERS):
            return self._place(value)
        return self._pack_plain(value)

    def entry(self, value: Any) -> list:
        """Return the kind, the parts and the extra of a container."""
        if name := self.shared.name_of(type(value)):
            base = plain_base(type(value), CONTAINERS)
            inner = [base, *self._content(value, base)] if base else []
            return ["instance", self._attributes(value), [name, inner]]
        base = plain_base(type(value), CONTAINERS)
        return [base, *self._content(value, base)]

    def _content(self, value: Any, base: str) -> list:
        parts, extra = CONTAINERS[base][0](value), CONTAINERS[base][1](value)
        return [[self.pack(part) for part in parts], extra]

    def _attributes(self, value: Any) -> list:
        return [self.pack(part) for part in attributes_of(value)]

    def _pack_plain(self, value: Any) -> Any:
        kind = type(value)
        fields = getattr(kind, "_fields", None)
        if isinstance(value, tuple) and isinstance(fields, tuple):
            named = [kind.__name__, list(fields), [self.pack(item) for item in value]]
            return {"namedtuple": named}
        name = plain_base(kind, VALUES)
        if name:
            pieces = VALUES[name][0](value)
            many = type(pieces) in (list, tuple)
            return {name: [self.pack(p) for p in pieces] if many else pieces}
        return self.to_other(value)

    def _pack_class(self, kind: type) -> Any:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if vars(builtins).get(kind.__name__) is kind:
            return {"type": name}
        if name in VALUES or name in CONTAINERS:
            return {"type": name}
        return {"class": shared} if (shared := self.shared.name_of(kind)) else self.to_other(kind)

    def _place(self, value: Any) -> dict:
        if id(value) not in self.places:
            self.places[id(value)] = {"at": len(self.kept)}
            self.kept.append(value)
        return self.places[id(value)]


class Unpacker:
    """Makes values from their JSON. `from_other` makes those that are not plain."""

    def __init__(
        self, shared: SharedClasses, from_other: Callable, table: list, known: Any = ()
    ) -> None:
        self.shared, self.from_other, self.known = shared, from_other, known
        self.made = [self._empty(*entry) for entry in table]
        # What an entry holds mostly comes after it, and must be whole to be hashed.
        for value, entry in reversed(list(zip(self.made, table, strict=True))):
            self.fill(value, *entry)

    def unpack(self, data: Any) -> Any:
        """Return the value of some JSON; raise an exception if it is not valid."""
        if type(data) is not dict:
            if type(data) is list:
                raise ValueError("a list must be an entry of the table")
            return data
        ((name, pieces),) = data.items()
        if name in ("at", "known"):
            return (self.made if name == "at" else self.known)[pieces]
        if name in VALUES:
            many = type(pieces) is list
            pieces = [self.unpack(p) for p in pieces] if many else pieces
            return VALUES[name][1](tuple(pieces) if name in SPREAD else pieces)
        if name == "namedtuple":
            return self._named(*pieces)
        if name == "type":
            return known_type(pieces)
        return self._unpack_shared(name, pieces)

    def fill(self, value: Any, kind: str, parts: list, extra: Any) -> None:
        """Fill a container with the parts of its entry."""
        made = [self.unpack(part) for part in parts]
        if kind != "instance":
            CONTAINERS[kind][3](value, made)
        else:
            fill_instance(value, made)
            if extra[1]:
                self.fill(value, *extra[1])

    def _empty(self, kind: str, parts: list, extra: Any) -> Any:
        if kind != "instance":
            return CONTAINERS[kind][2](extra)
        shared = self.shared.get(extra[0])
        return shared.__new__(shared) if extra[1] else object.__new__(shared)

    def _named(self, name: str, fields: list, items: list) -> Any:
        """Return a named tuple, of the class of this name where there is one with these fields."""
        kind = self.shared.space.get(name)
        if getattr(kind, "_fields", None) != tuple(fields) or not isinstance(kind, type):
            # This refuses names that are not plain identifiers.
            kind = collections.namedtuple(name, fields)
        return tuple.__new__(kind, [self.unpack(item) for item in items])

    def _unpack_shared(self, name: str, pieces: Any) -> Any:
        if name == "class":
            return self.shared.get(pieces)
        if name == "member":
            kind = self.shared.get(pieces[0])
            if not issubclass(kind, enum.Enum):
                raise ValueError(f"{pieces[0]} has no members")
            return kind.__members__[pieces[1]]
        if name == "extended":
            kind, value = self.shared.get(pieces[0]), self.unpack(pieces[1])
            bases = [b for b in kind.__mro__ if b.__module__ == "builtins" and b is not object]
            if not bases or not plain_base(bases[0], VALUES):
                raise ValueError(f"{pieces[0]} extends no plain type")
            base = bases[0]
            made = base.__new__(kind, value)
            if pieces[2]:
                fill_instance(made, [self.unpack(part) for part in pieces[2]])
            return made
        return self.from_other(name, pieces, self)
