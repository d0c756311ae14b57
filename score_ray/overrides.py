"""`section.key=value` on the command line, applied to a tree of plain values."""

import yaml

from score_ray.types import ConfigError


def apply(tree: dict, override: str) -> None:
    """Set one value in the tree; ConfigError for what is no override or has no place."""
    key, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"{override!r}: an override is section.key=value")
    try:
        parsed = yaml.safe_load(value)
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
