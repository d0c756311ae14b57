"""The keys of the schema, and the messages that name them."""

import ast
import pickle
import re
from pathlib import Path

import pytest

from score_ray.config.loading import keys, load

KEYS = {key for key, _ in keys()}
SECTIONS = {key.split(".")[0] for key in KEYS if "." in key}
PARENTS = {key.rpartition(".")[0] for key in KEYS}
NAMED = re.compile(rf"(?<![\w./{{])({'|'.join(sorted(SECTIONS))})\.([a-z_]+(?:\.[a-z_]+)?)")
FILES = {"safetensors"}  # of which "model." is the beginning
MODULES = sorted(Path("score_ray").rglob("*.py"))


def keys_named_in(path: Path) -> set[str]:
    """Return the dotted keys in a module's texts: messages, overrides and docstrings."""
    nodes = ast.walk(ast.parse(path.read_text()))
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return {".".join(found) for text in texts for found in NAMED.findall(text)}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_key_that_a_message_names_exists(path):
    for key in keys_named_in(path):
        if key.split(".")[1] not in FILES:
            assert key in KEYS | PARENTS, f"{path} names {key}"


def test_a_config_can_be_pickled_and_is_equal_afterwards():
    config = load(Path("configs/arithmetic.yaml"))
    again = pickle.loads(pickle.dumps(config))
    assert again == config
    with pytest.raises(ValueError, match="frozen"):
        again.learner.learning_rate = 1.0
