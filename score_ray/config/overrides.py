"""Applies overrides, `section.key=value`, to the plain values of a config.

The value of a key whose type is text is taken as it stands, with all signs and spaces; any other
value is read as YAML. A key that takes a text or a list of sections is given the list if the
value reads as one.
"""

from collections.abc import Iterator
from typing import Any

from score_ray.config.config import Config
from score_ray.config.key_types import is_structure, is_text, types_of
from score_ray.config.section import Section
from score_ray.config.yaml_text import read_yaml
from score_ray.types import ConfigError


def split_override(override: str) -> tuple[str, str]:
    """Return the key and the text of an override; raise ConfigError if it has no `=`."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"{override!r}: an override has the form section.key=value")
    try:
        override.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{override!r}: has to be UTF-8") from None
    return key, text


def apply_override(tree: dict, override: str, schema: type[Section] = Config) -> None:
    """Set one value in the tree.

    Raises ConfigError if the override is not of that form, or its key has no place in the tree.
    """
    key, text = split_override(override)
    value = _value(key, text, schema)
    *sections, leaf = key.split(".")
    node: Any = tree
    for section in sections:
        place = _place(node, section, override)
        if isinstance(node, dict) and node.get(section) is None:
            node[section] = {}
        node = node[place]
        if not isinstance(node, dict | list):
            raise ConfigError(f"{override!r}: {section!r} is not a section")
    node[_place(node, leaf, override)] = value


def keys_set_by(override: str, schema: type[Section] = Config) -> list[str]:
    """Return the dotted keys that an override sets; several for a whole section or list."""
    key, text = split_override(override)
    return list(_leaves(_value(key, text, schema), key))


def _value(key: str, text: str, schema: type[Section]) -> Any:
    kinds = types_of(key, schema)
    if not kinds:  # an unknown key, which is refused later with all others
        return text
    if not any(map(is_text, kinds)):
        try:
            return read_yaml(text, key)
        except ValueError as error:
            raise ConfigError(f"{f'{key}={text}'!r}: {error}") from error
    return _sections_in(text, text) if any(map(is_structure, kinds)) else text


def _sections_in(text: str, otherwise: str) -> Any:
    """Return the list of sections that a text reads as; `otherwise` if it does not."""
    try:
        value = read_yaml(text)
    except ValueError:
        return otherwise
    is_list = isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
    return value if is_list else otherwise


def _leaves(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}")
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}.{index}")
    else:
        yield key


def _place(node: dict | list, key: str, override: str) -> Any:
    """Return the index that a key is in a list, or the key itself."""
    if isinstance(node, dict):
        return key
    if key not in map(str, range(len(node))):
        raise ConfigError(f"{override!r}: {key!r} is not an index into a list of {len(node)}")
    return int(key)
