"""Every command that the documents and the recipes print has this form in the command line."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from score_ray.cli.commands import app
from score_ray.config.loading import load

PAGES = [Path("README.md"), Path("cluster/README.md"), *sorted(Path("docs").glob("*.md"))]
RECIPES = sorted(Path("configs").rglob("*.yaml"))
LINE = re.compile(r"^(?: {4}|#   )((?:score-ray|python launch\.py) .*)$", re.MULTILINE)


def commands(path: Path) -> list[list[str]]:
    """Return the words of the command lines of a page, or of the comments of a recipe."""
    text = re.sub(r" *\\\n#? *", " ", path.read_text())
    lines = [shlex.split(line, comments=True) for line in LINE.findall(text)]
    return [words[2 if words[0] == "python" else 1 :] for words in lines]


def parse(words: list[str]) -> dict:
    """Return the parameters of a command; a usage error raises."""
    command, name = typer.main.get_command(app), "score-ray"
    context = command.make_context(name, list(words))
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context.params


@pytest.mark.parametrize("path", [*PAGES, *RECIPES], ids=str)
def test_every_printed_command_parses_and_its_overrides_fit(path):
    for words in commands(path):
        parameters = parse(words)
        recipe = parameters.get("config")
        if recipe is not None and recipe.is_file():
            load(recipe, parameters["overrides"] or [])
        else:
            assert recipe is None or str(recipe) == "CONFIG", words


def test_the_readme_prints_commands():
    printed = {words[0] for words in commands(Path("README.md"))}
    assert {"train", "grade", "reproduce", "figures", "eval", "export", "bench"} <= printed


def test_the_readme_exports_a_checkpoint_that_make_train_keeps():
    (words,) = (words for words in commands(Path("README.md")) if words[0] == "export")
    config = load(Path("configs/arithmetic.yaml"))
    saved = [done for done in range(1, config.iterations + 1) if config.is_saved(done)]
    assert parse(words)["iteration"] in saved[-config.checkpoint.keep :]


def test_a_wrong_command_is_found():
    with pytest.raises(Exception, match="No such option"):
        parse(["export", "runs/arithmetic", "model", "--iterations", "3"])
