"""Reads configs from YAML, writes them, and compares two of them.

Unknown keys and wrong types are errors that name the key.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from score_ray.config.config import Config
from score_ray.config.overrides import apply_override, read_yaml, write_yaml
from score_ray.config.schema import FREE, Section
from score_ray.types import ConfigError


def load(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Return the config in a YAML file, with `section.key=value` overrides applied to it.

    Raises ConfigError naming the file, the key and what is wrong with it.
    """
    tree = read_tree(path, "config file", "a mapping of sections")
    for override in overrides:
        apply_override(tree, override)
    return parse(tree, str(path))


def read_tree(path: Path, kind: str, content: str) -> dict:
    """Return the plain values in a YAML file, unchecked.

    Raises ConfigError, which calls the file a `kind` that should hold `content`.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such {kind}")
    try:
        tree = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: {content} is expected")
    return tree


def parse(tree: dict, origin: str) -> Config:
    """Return the config in a tree of plain values; `origin` is named in errors."""
    try:
        # JSON mode takes lists for tuples and is strict otherwise.
        return Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        lines = [f"{origin}: the config is not valid:", *error_lines(error)]
        raise ConfigError("\n".join(lines)) from error


def error_lines(error: ValidationError) -> list[str]:
    """Return a line for each key that is wrong."""
    return [f"  {_dotted(e['loc'])}{_reason(e)}" for e in error.errors()]


def dump(config: Config) -> str:
    """Return the resolved config as YAML, which `load` reads back to an equal config."""
    return write_yaml(config.model_dump(mode="json"))


def differences(ours: Config, theirs: Config) -> list[str]:
    """Return "key: their value -> our value" for each key that makes two configs different runs."""
    new, old, free = _flat(ours), _flat(theirs), set(free_keys())
    changed = [k for k in sorted(new | old) if new.get(k) != old.get(k) and k not in free]
    return [f"{k}: {old.get(k)} -> {new.get(k)}" for k in changed]


def keys(section: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield every dotted key that a section has, and whether it or a section of it is Free."""
    for name, field in section.model_fields.items():
        free, kind = FREE in field.metadata, field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            for key, free_in_section in keys(kind, f"{prefix}{name}."):
                yield key, free or free_in_section
        else:
            yield f"{prefix}{name}", free


def free_keys() -> list[str]:
    """Return the dotted keys that may change when a run is resumed."""
    return [key for key, free in keys() if free]


@contextmanager
def input_errors() -> Iterator[None]:
    """Raise an OSError or ValueError of the block as a ConfigError; only for reading input."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _dotted(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _reason(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "this key is required"
    message = error["msg"].removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"{message}; got {error['input']!r}"


def _flat(config: Config) -> dict[str, Any]:
    return dict(_leaves(config.model_dump(mode="json"), ""))


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield prefix.rstrip("."), tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{prefix}{key}.")
