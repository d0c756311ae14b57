"""Finds the type of a dotted key in a schema: through sections, lists, mappings and unions."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from score_ray.config.section import Section


def alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself; without their constraints."""
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(one for part in get_args(kind) for one in alternatives(part))
    return (kind,)


def is_section(kind: Any) -> bool:
    """Return whether a type is a section."""
    return isinstance(kind, type) and issubclass(kind, Section)


def inside(kinds: tuple[Any, ...], part: str) -> tuple[Any, ...]:
    """Return the types of what a key or an index leads to; none if it leads nowhere."""
    found: list[Any] = []
    for kind in kinds:
        if is_section(kind) and part in kind.model_fields:
            found += alternatives(kind.model_fields[part].annotation)
        elif get_origin(kind) is tuple and part.isdecimal():
            found += alternatives(get_args(kind)[0])
        elif get_origin(kind) is dict:
            found += alternatives(get_args(kind)[1])
    return tuple(found)


def types_of(key: str, schema: type[Section]) -> tuple[Any, ...]:
    """Return the types that a dotted key may have; none for an unknown key."""
    kinds: tuple[Any, ...] = (schema,)
    for part in key.split("."):
        kinds = inside(kinds, part)
    return kinds


def is_text(kind: Any) -> bool:
    """Return whether a type is text, or a choice of texts."""
    if get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in get_args(kind))
    return kind is str


def is_structure(kind: Any) -> bool:
    """Return whether values of a type hold other values."""
    return is_section(kind) or get_origin(kind) in (tuple, dict)


def all_keys(kinds: tuple[Any, ...], prefix: str = "") -> Iterator[str]:
    """Yield every dotted key below these types, with 0 for the index into a list of sections."""
    for kind in kinds:
        if is_section(kind):
            for name, field in kind.model_fields.items():
                yield f"{prefix}{name}"
                yield from all_keys(alternatives(field.annotation), f"{prefix}{name}.")
        elif get_origin(kind) is tuple and any(map(is_section, alternatives(get_args(kind)[0]))):
            yield from all_keys(alternatives(get_args(kind)[0]), f"{prefix}0.")
