"""The closed set of types whose values travel between a program and its tests.

For each: how a value is taken apart into JSON, and how it is made again (packing.py). The pieces
are treated as hostile: whatever they are, they become a value of the type, or an exception.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable
from operator import attrgetter, methodcaller

TYPE_CHECKING = False  # importing typing takes a fifth of the start; only type checkers need it
if TYPE_CHECKING:
    from typing import Any

JSON_TYPES = (type(None), bool, float, str)


def import_and_make(path: str, pieces: Any) -> Any:
    """Make a value of a rarely used type, whose module is imported only now."""
    module, _, name = path.partition(".")
    maker = attrgetter(name)(__import__(module))
    return maker(*pieces) if type(pieces) is tuple else maker(pieces)


def empty_array(extra: list) -> Any:
    """Return an array of numpy of this type and shape; numbers, texts and times are possible."""
    import numpy  # pyright: ignore[reportMissingImports]

    kind, shape = extra
    if type(kind) is not str or kind.lstrip("<>|=")[:1] not in tuple("biufcSUmM"):
        raise ValueError(f"no array of {kind!r} can be received")
    return numpy.empty(shape, dtype=kind)


def fill_array(old: Any, items: list) -> None:
    """Replace the items of an array, which keeps its type and shape."""
    import numpy  # pyright: ignore[reportMissingImports]

    old[...] = numpy.array(items).astype(old.dtype).reshape(old.shape)


def items_of_array(array: Any) -> list:
    """Return the items of an array as plain values, times as whole numbers."""
    return (array.astype("int64") if array.dtype.kind in "mM" else array).reshape(-1).tolist()


def make_number(pieces: list) -> Any:
    """Return a number of numpy."""
    array = empty_array([pieces[0], [1]])
    fill_array(array, [pieces[1]])
    return array[0]


SPREAD = ("fractions.Fraction", "datetime.timedelta")  # made from several arguments
ISO, RATIO = methodcaller("isoformat"), attrgetter("numerator", "denominator")
DELTA = attrgetter("days", "seconds", "microseconds")
# By full name of a type that cannot change: what takes a value apart, and what makes it.
VALUES: dict[str, tuple[Callable, Callable]] = {
    "builtins.int": (lambda v: hex(int.__index__(v)), lambda p: int(p, 16)),
    "builtins.float": (float.__float__, float),
    "builtins.str": (str.__str__, str),
    "builtins.complex": (attrgetter("real", "imag"), lambda p: complex(*p)),
    "builtins.bytes": (bytes.hex, bytes.fromhex),
    "builtins.range": (attrgetter("start", "stop", "step"), lambda p: range(*p)),
    "builtins.slice": (attrgetter("start", "stop", "step"), lambda p: slice(*p)),
    "builtins.tuple": (list, tuple),
    "builtins.frozenset": (list, frozenset),
    "builtins.dict_keys": (list, lambda p: dict.fromkeys(p).keys()),
    "builtins.dict_values": (list, lambda p: dict(enumerate(p)).values()),
    "builtins.dict_items": (list, lambda p: dict(p).items()),
    "builtins.ellipsis": (lambda v: None, lambda p: ...),
    "builtins.NotImplementedType": (lambda v: None, lambda p: NotImplemented),
    "decimal.Decimal": (str, lambda p: import_and_make("decimal.Decimal", p)),
    "fractions.Fraction": (RATIO, lambda p: import_and_make("fractions.Fraction", p)),
    "datetime.datetime": (ISO, lambda p: import_and_make("datetime.datetime.fromisoformat", p)),
    "datetime.date": (ISO, lambda p: import_and_make("datetime.date.fromisoformat", p)),
    "datetime.time": (ISO, lambda p: import_and_make("datetime.time.fromisoformat", p)),
    "datetime.timedelta": (DELTA, lambda p: import_and_make("datetime.timedelta", p)),
    "uuid.UUID": (str, lambda p: import_and_make("uuid.UUID", p)),
    "numpy.generic": (lambda v: [v.dtype.str, *items_of_array(v)], make_number),
}


def fill_list(old: Any, parts: list) -> None:
    """Replace the items of a list, a set or a deque."""
    old.clear()
    (old.update if isinstance(old, set) else old.extend)(parts)


def fill_dict(old: Any, parts: list) -> None:
    """Replace the items of a mapping by keys and values in turn."""
    old.clear()
    for key, value in zip(parts[::2], parts[1::2], strict=True):
        old[key] = value


def fill_default_dict(old: Any, parts: list) -> None:
    """Replace the factory of a defaultdict, and its items."""
    old.default_factory = parts[0]
    fill_dict(old, parts[1:])


def pairs(mapping: Any) -> list:
    """Return the keys and values of a mapping in turn."""
    return [part for item in mapping.items() for part in item]


def none(_: Any) -> None:
    """Return the extra of a container that needs none to be made empty."""


# By full name of a type that can change: its parts, what else is needed to make an empty one,
# what makes that, and what fills it with parts.
CONTAINERS: dict[str, tuple[Callable, Callable, Callable, Callable]] = {
    "builtins.list": (list, none, lambda _: [], fill_list),
    "builtins.set": (list, none, lambda _: set(), fill_list),
    "builtins.dict": (pairs, none, lambda _: {}, fill_dict),
    "builtins.bytearray": (list, none, lambda _: bytearray(), fill_list),
    "collections.Counter": (pairs, none, lambda _: collections.Counter(), fill_dict),
    "collections.OrderedDict": (pairs, none, lambda _: collections.OrderedDict(), fill_dict),
    "collections.defaultdict": (
        lambda v: [v.default_factory, *pairs(v)],
        none,
        lambda _: collections.defaultdict(),
        fill_default_dict,
    ),
    "collections.deque": (
        list,
        attrgetter("maxlen"),
        lambda extra: collections.deque(maxlen=extra),
        fill_list,
    ),
    "numpy.ndarray": (
        items_of_array,
        lambda v: [v.dtype.str, list(v.shape)],
        empty_array,
        fill_array,
    ),
}


def known_type(name: str) -> type:
    """Return a builtin type, or one of those that can be received, by its full name."""
    module, _, last = name.partition(".")
    if module != "builtins" and name not in VALUES and name not in CONTAINERS:
        raise ValueError(f"no type {name!r} can be received")
    kind = vars(sys.modules[module] if module in sys.modules else __import__(module))[last]
    if not isinstance(kind, type):
        raise ValueError(f"{name!r} is not a type")
    return kind
