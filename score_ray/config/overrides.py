"""Applies overrides, `section.key=value`; reads and writes the YAML of these and of configs."""

import re
from typing import Any

import yaml

from score_ray.types import ConfigError


class _Loader(yaml.SafeLoader):
    """A reader of YAML in which 1e-6 is a number, as in YAML 1.2; PyYAML wants 1.0e-6."""


class _Dumper(yaml.SafeDumper):
    """A writer of the YAML that _Loader reads."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), "-+0123456789"
    )


def read_yaml(text: str) -> Any:
    """Return the plain values in a YAML text; raise yaml.YAMLError if it is not valid."""
    return yaml.load(text, _Loader)


def write_yaml(values: Any) -> str:
    """Return plain values as YAML, in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def apply_override(tree: dict, override: str) -> None:
    """Set one value in the tree.

    Raises ConfigError if the override is not of that form, or its key has no place in the tree.
    """
    key, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"{override!r}: an override has the form section.key=value")
    try:
        parsed = read_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override!r}: the value is not valid YAML") from error
    *sections, leaf = key.split(".")
    node = tree
    for section in sections:
        if isinstance(node, list):
            node = node[_index_in(node, section, override)]
        else:
            node = node.setdefault(section, {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"{override!r}: {section!r} is not a section")
    if isinstance(node, list):
        node[_index_in(node, leaf, override)] = parsed
    else:
        node[leaf] = parsed


def _index_in(nodes: list, key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(nodes):
        raise ConfigError(f"{override!r}: {key!r} is not an index into a list of {len(nodes)}")
    return int(key)
