"""`section.key=value` on the command line, applied to a tree of plain values."""

import re
from typing import Any

import yaml

from score_ray.types import ConfigError


class _Loader(yaml.SafeLoader):
    """Reads YAML in which 1e-6 is a number, as in YAML 1.2; to PyYAML only 1.0e-6 is one."""


class _Dumper(yaml.SafeDumper):
    """Writes what _Loader reads."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), "-+0123456789"
    )


def read_yaml(text: str) -> Any:
    """The plain values of a YAML text; yaml.YAMLError if it is none."""
    return yaml.load(text, _Loader)


def write_yaml(values: Any) -> str:
    """A YAML text of plain values, in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def apply(tree: dict, override: str) -> None:
    """Set one value in the tree; ConfigError for what is no override or has no place."""
    key, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"{override!r}: an override is section.key=value")
    try:
        parsed = read_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override!r}: the value is not valid YAML") from error
    *sections, leaf = key.split(".")
    node = tree
    for section in sections:
        if isinstance(node, list):
            node = node[_place_in(node, section, override)]
        else:
            node = node.setdefault(section, {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"{override!r}: {section!r} is not a section")
    if isinstance(node, list):
        node[_place_in(node, leaf, override)] = parsed
    else:
        node[leaf] = parsed


def _place_in(nodes: list, key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(nodes):
        raise ConfigError(f"{override!r}: {key!r} is not a place in a list of {len(nodes)}")
    return int(key)
