"""Finds the key or the value that somebody meant who mistyped it."""

from collections.abc import Iterable
from difflib import get_close_matches

from score_ray.config.key_types import all_keys, types_of
from score_ray.config.section import Section

MOST = 3  # suggestions


def did_you_mean(wrong: str, choices: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the choice that is most like the wrong one, or ""."""
    known = {choice.lower(): choice for choice in choices}
    close = get_close_matches(wrong.strip().lower(), known, 1, 0.6)
    return f"; did you mean {known[close[0]]}?" if close else ""


def suggest_key(wrong: str, schema: type[Section]) -> str:
    """Return "; did you mean ...?" with the keys that an unknown one may stand for, or ""."""
    if types_of(wrong, schema):  # written with a dot where a file has sections
        return f"; did you mean {wrong}, indented below `{wrong.partition('.')[0]}:`?"
    found = list(dict.fromkeys(_candidates(wrong.strip(), schema)))[:MOST]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _candidates(wrong: str, schema: type[Section]) -> list[str]:
    """Return the likeliest keys: those of the first rule that finds any."""
    section, _, leaf = wrong.rpartition(".")
    every = list(all_keys((schema,)))
    beside = list(all_keys(types_of(section, schema) if section else (schema,)))
    beside = [f"{section}.{key}" if section else key for key in beside if "." not in key]
    by_leaf: dict[str, list[str]] = {}
    for key in [*beside, *every]:
        by_leaf.setdefault(_leaf(key), []).append(key)
    by_leaf = {name: keys for name, keys in by_leaf.items() if len({*keys}) < MOST}
    same = by_leaf.get(leaf.lower(), [])
    spelled_out = [key for key in every if _plain(wrong) in _endings(key)]
    initials = [key for key in every if "_" in _leaf(key) and _initials(key) == leaf.lower()]
    return (
        same
        or spelled_out
        or _close(leaf, {_leaf(key): [key] for key in beside}, 0.7)
        or initials
        or _close(leaf, by_leaf, 0.75)
        or _close(wrong, {key: [key] for key in every}, 0.75)
    )


def _close(wrong: str, keys: dict[str, list[str]], likeness: float) -> list[str]:
    return [
        key for name in get_close_matches(wrong.lower(), keys, 1, likeness) for key in keys[name]
    ]


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _plain(key: str) -> str:
    return key.lower().replace(".", "_").replace("-", "_")


def _endings(key: str) -> list[str]:
    """Return "learner_lora_rank", "lora_rank" and "rank" for learner.lora.rank."""
    parts = key.split(".")
    return ["_".join(parts[start:]) for start in range(len(parts))]


def _initials(key: str) -> str:
    return "".join(word[0] for word in _leaf(key).split("_"))
