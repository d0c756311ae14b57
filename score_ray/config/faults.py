"""Says what is wrong with a config: one line for each key, from what pydantic finds."""

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from score_ray.config.config import Config
from score_ray.config.key_types import inside, types_of
from score_ray.config.section import Section
from score_ray.config.suggestions import did_you_mean, suggest_key

MOST_SHOWN = 80  # characters of a wrong value
OF_OURS = "Value error, "  # what pydantic puts before a message of a check of ours
SAYINGS = {
    "string_too_short": "a text is expected that is not empty",
    "missing": "this key is required",
    "model_type": "keys and values are expected below it",
    "tuple_type": "a list is expected, such as [a, b]",
}


def faults_message(
    error: ValidationError,
    origin: str,
    kind: str,
    schema: type[Section] = Config,
    given: Collection[str] = (),
) -> str:
    """Return what is wrong with a file of some kind, as a line, or as one for each of its faults.

    `given` are the keys that overrides have set, for whose faults the file is not blamed.
    """
    lines = fault_lines(error, schema, given)
    if len(lines) > 1:
        return "\n  ".join([f"{origin}: the {kind} is not valid:", *lines.values()])
    key, line = next(iter(lines.items()))
    own = any(key and f"{key}.".startswith(f"{one}.") for one in given)
    return line if own else f"{origin}: {line}"


def fault_lines(
    error: ValidationError, schema: type[Section], given: Collection[str] = ()
) -> dict[str, str]:
    """Return a line for each key that is wrong, by the dotted key."""
    found: dict[str, list[Any]] = {}
    for one in error.errors(include_url=False):
        key = _key(one["loc"], schema)
        if one["type"] == "value_error":  # its message may begin with a key of its section
            key = _own_key(key, one["msg"].removeprefix(OF_OURS), schema)
        if one["type"] == "extra_forbidden":  # an override may have made the section of its key
            key = next((own for own in given if own.startswith(f"{key}.")), key)
        found.setdefault(key, []).append(one)
    lines = {}
    for key, errors in found.items():
        # What can be a text or a list fails as both; what is wrong inside the list says more.
        if any(other.startswith(f"{key}.") for other in found if key):
            continue
        reason = _reason(key, errors, schema)
        lines[key] = f"{key}: {reason}" if key else reason
    return _without_consequences(lines)


def _key(location: tuple[int | str, ...], schema: type[Section]) -> str:
    """Return the dotted key of an error, without pydantic's names for the types of a union."""
    kinds: tuple[Any, ...] = (schema,)
    parts = []
    for part in map(str, location):
        deeper = inside(kinds, part)
        if not deeper and len(kinds) > 1 and (part == "str" or "[" in part):
            continue
        kinds = deeper
        parts.append(part)
    return ".".join(parts)


def _own_key(section: str, message: str, schema: type[Section]) -> str:
    """Return the key below a section that a message begins with, or the section."""
    key = f"{section}.{message.partition(': ')[0]}".removeprefix(".")
    return key if types_of(key, schema) else section


def _reason(key: str, errors: list[Any], schema: type[Section]) -> str:
    kinds = {error["type"] for error in errors}
    error, value = errors[0], errors[0]["input"]
    if "extra_forbidden" in kinds:
        return f"unknown key{suggest_key(key, schema)}"
    if error["type"] == "json_invalid":
        return "a text in it is not valid Unicode"
    if error["type"] == "value_error":
        return _without_key(error["msg"].removeprefix(OF_OURS), key)
    if len(kinds) > 1:
        return f"a text or a list is expected; got {_shown(value)}"
    if error["type"] == "string_type":
        return _not_a_text(value)
    said: str = SAYINGS.get(error["type"]) or error["msg"]
    if error["type"] == "missing":
        return said
    return f"{said}; got {_shown(value)}{_closest_choice(error)}"


def _without_key(message: str, key: str) -> str:
    """Return a message of ours without the key, or its last part, that it may begin with."""
    named = [f"{key}: ", f"{key.rpartition('.')[2]}: "]
    return next((message.removeprefix(n) for n in named if message.startswith(n)), message)


def _closest_choice(error: Any) -> str:
    """Return "; did you mean ...?" if a text is none of those that may be chosen, or ""."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return ""
    choices = [c for c in error["ctx"]["expected"].replace(" or ", ", ").split(", ") if c]
    return did_you_mean(error["input"], [choice.strip("'") for choice in choices])


def _not_a_text(value: Any) -> str:
    if value is None:
        return 'a text is expected; for an empty one write ""'
    if isinstance(value, bool | int | float):
        return f"a text is expected; put it in quotes ({_shown(value)} reads as another type)"
    return f"a text is expected; got {_shown(value)}"


def _without_consequences(lines: dict[str, str]) -> dict[str, str]:
    """Leave out the missing keys that an unknown key is a mistyped form of."""
    asked = " ".join(line for line in lines.values() if "did you mean" in line)
    words = set(asked.replace("?", " ").split())
    return {k: line for k, line in lines.items() if not (line.endswith("required") and k in words)}


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
