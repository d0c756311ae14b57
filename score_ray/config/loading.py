"""Reads configs from YAML, writes them, and compares two of them.

Unknown keys, wrong types, and keys that do nothing are errors that name the key.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from score_ray.config.config import Config
from score_ray.config.faults import faults_message
from score_ray.config.overrides import apply_override, keys_set_by, split_override
from score_ray.config.prompt_texts import PROMPT_TEXTS
from score_ray.config.section import FREE, Section
from score_ray.config.unread import refuse_unread, unread_keys
from score_ray.config.yaml_text import read_yaml, write_yaml
from score_ray.types import ConfigError


def load(path: Path, overrides: Iterable[str] = (), saved: bool = False) -> Config:
    """Return the config in a YAML file, with `section.key=value` overrides applied to it.

    Of several overrides of a key the last one counts. A file that is `saved`, as a run folder's
    is, may hold keys that do nothing, because it was written by an older version or its task is
    overridden; they get their defaults. Raises ConfigError naming the file, the key and what is
    wrong with it.
    """
    tree = read_tree(path, "config file", "a mapping of sections")
    if saved:
        _unset_empty_prompts(tree)
    given: set[str] = set()
    named: set[str] = set()
    for override in overrides:
        apply_override(tree, override)
        given |= {*keys_set_by(override)}
        named.add(split_override(override)[0])
    config = parse(tree, str(path), given | named)
    unread = unread_keys(config)
    refuse_unread(unread, given, None if saved else str(path))
    dropped = [one.key for one in unread if one.differs]
    for key in dropped:
        _remove(tree, key.split("."))
    return parse(tree, str(path)) if dropped else config


def read_tree(path: Path, kind: str, content: str) -> dict:
    """Return the plain values in a YAML file, unchecked.

    Raises ConfigError, which calls the file a `kind` that should hold `content`.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: a folder; a {kind} is expected")
    if not path.is_file():
        raise ConfigError(f"{path}: no such {kind}")
    try:
        tree = read_yaml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        line, byte = 1 + error.object.count(b"\n", 0, error.start), error.object[error.start]
        raise ConfigError(
            f"{path}: line {line}: the byte 0x{byte:02x} is not UTF-8; save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: {reason}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: {content} is expected")
    return tree


def parse(tree: dict, origin: str, given: Collection[str] = ()) -> Config:
    """Return the config in a tree of plain values.

    Errors name the `origin`, unless they are about keys `given` by overrides.
    """
    try:
        # JSON mode takes lists for tuples and is strict otherwise.
        return Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise ConfigError(faults_message(error, origin, "config", given=given)) from error


def dump(config: Config) -> str:
    """Return the resolved config as YAML, which `load` reads back to an equal config."""
    return write_yaml(config.model_dump(mode="json"))


def differences(ours: Config, theirs: Config) -> list[str]:
    """Return "key: their value -> our value" for each key that makes two configs different runs."""
    new, old, free = (*(c.model_dump(mode="json") for c in (ours, theirs)), set(free_keys()))
    changed = _changed(old, new, "")
    return [f"{key}: {_shown(a)} -> {_shown(b)}" for key, a, b in changed if key not in free]


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


def _unset_empty_prompts(tree: dict) -> None:
    """Let the preset's texts stand in for empty ones in a file of an older version.

    There an empty text was an unset one, and every text was written. Today's version writes an
    unset text as null, and refuses a preset of which every text is replaced.
    """
    prompts = tree.get("prompts")
    if isinstance(prompts, dict) and all(prompts.get(name) is not None for name in PROMPT_TEXTS):
        tree["prompts"] = {k: v for k, v in prompts.items() if v != "" or k not in PROMPT_TEXTS}


def _remove(node: Any, key: list[str]) -> None:
    for part in key[:-1]:
        node = node[int(part)] if isinstance(node, list) else node[part]
    del node[key[-1]]


def _changed(old: Any, new: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield each dotted key with two values; what one side lacks is None there."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted(old.keys() | new.keys())
        parts = [(name, old.get(name), new.get(name)) for name in names]
    elif _is_sections(old) and _is_sections(new):
        parts = [(str(i), *pair) for i, pair in enumerate(zip_longest(old, new))]
    else:
        if old != new:
            yield key, old, new
        return
    for name, before, after in parts:
        yield from _changed(before, after, f"{key}.{name}".removeprefix("."))


def _is_sections(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _shown(value: Any) -> Any:
    """Return a value for a message; a section in a list is called by its name."""
    return value.get("name", value) if isinstance(value, dict) else value
