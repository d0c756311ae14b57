"""Reads and writes the YAML of configs and of overrides; a key that is given twice is an error."""

import re
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

MOST_VALUES = 100_000  # of a text, aliases counted as often as they are used
MERGE = "tag:yaml.org,2002:merge"


NUMBERS = {
    "int": r"[-+]?(0|[1-9]\d*(_\d+)*|0x[\da-fA-F]+)$",
    "float": r"[-+]?((\d+(_\d+)*\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$"
    r"|\.(nan|NaN|NAN)$",
}


class _Loader(yaml.SafeLoader):
    """A reader of YAML with numbers as in YAML 1.2, where 1e-6 is one; PyYAML wants 1.0e-6.

    What PyYAML takes for a number in base 8 or 60, 010 or 1:30, is text as it stands, so that a
    key that needs a number refuses it. So are dates, because no key is a date.
    """


class _Dumper(yaml.SafeDumper):
    """A writer of the YAML that _Loader reads."""


_Loader.yaml_implicit_resolvers = {
    start: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("timestamp", *NUMBERS)
    ]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _side in (_Loader, _Dumper):
    for _kind, _pattern in NUMBERS.items():
        _side.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}", re.compile(_pattern, re.ASCII), "-+.0123456789"
        )


def read_yaml(text: str, key: str = "") -> Any:
    """Return the plain values in a YAML text, which is the value of a key if one is named.

    Raises ValueError, with a message of one line, if it is not valid YAML, gives a key twice,
    contains itself, or grows beyond 100,000 values by its aliases.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, f"{key}." if key else "", {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        fault = _reason(error)
    except RecursionError:
        fault = "brackets are nested too deep"
    raise ValueError(f"{'the value is ' * bool(key)}not valid YAML: {fault}")


def write_yaml(values: Any) -> str:
    """Return plain values as YAML, in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def _check(node: Node, key: str, sizes: dict[int, int]) -> int:
    """Return the number of values in a node; `sizes` has those of the nodes that are checked."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError(f"line {_line(node)}: an alias to a part that contains it")
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, MappingNode):
        _refuse_twice(node, key)
        for name, value in node.value:
            size += _check(value, f"{key}{name.value}.", sizes)
    elif isinstance(node, SequenceNode):
        size += sum(_check(one, f"{key}{i}.", sizes) for i, one in enumerate(node.value))
    if size > MOST_VALUES:
        raise ValueError(f"line {_line(node)}: more than {MOST_VALUES:,} values")
    sizes[id(node)] = size
    return size


def _refuse_twice(mapping: MappingNode, key: str) -> None:
    first: dict[str, Node] = {}
    for name, _ in mapping.value:
        if not isinstance(name, ScalarNode):
            raise ValueError(f"line {_line(name)}: a key has to be a text")
        if name.value in first and name.tag != MERGE:
            before, here = _line(first[name.value]), _line(name)
            where = f"lines {before} and {here}" if before != here else f"line {here}"
            raise ValueError(f"{key}{name.value} is given twice, in {where}; keep one")
        first[name.value] = name


def _line(node: Node) -> int:
    return node.start_mark.line + 1


def _reason(error: yaml.YAMLError) -> str:
    """Return what is wrong, in one line."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    if "'\\t'" in reason:
        reason = "a tab at the beginning of a value; indent with spaces"
    return f"line {mark.line + 1}: {reason}" if mark else reason
