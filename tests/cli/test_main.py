"""The command line as a program: its names, its version, its errors, completion."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from score_ray.cli.commands import app
from tests.cli.test_start_up import COMMANDS
from tests.support import sample_figure_run, sample_run_folder
from tests.support.command_line import invoke, output
from tests.support.published_models import config_folder

SCRIPT = str(Path(sys.executable).with_name("score-ray"))


def program(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, timeout=120, env=os.environ | variables
    )


@pytest.mark.parametrize(
    "start", [(SCRIPT,), (sys.executable, "-m", "score_ray"), (sys.executable, "launch.py")]
)
def test_the_program_starts_in_three_ways(start):
    done = program(*start, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"score-ray {metadata.version('score-ray')}\n"


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert "score-ray of an unknown version" in output("--version")


def test_an_error_goes_to_stderr_and_exits_with_1():
    done = program(SCRIPT, "train", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: nowhere.yaml: no such config file\n"


def test_a_missing_argument_is_named():
    result = invoke("train")
    assert result.exit_code == 2
    assert "Missing argument" in result.stderr


@pytest.mark.parametrize("words", [(), ("job",), ("bench",)])
def test_without_a_command_the_help_is_shown(words):
    assert "Commands" in invoke(*words).output


def test_every_command_has_help():
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    names += [group.name for group in app.registered_groups]
    assert sorted(names) == sorted({command.split()[0] for command in COMMANDS})
    for command in COMMANDS:
        assert f"Usage: score-ray {command} " in output(*command.split(), "--help")


def test_a_shell_completes_commands_and_options():
    complete = {"_SCORE_RAY_COMPLETE": "complete_bash"}
    done = program(SCRIPT, COMP_WORDS="score-ray e", COMP_CWORD="1", **complete)
    assert done.stdout.split() == ["eval", "export"]
    done = program(SCRIPT, COMP_WORDS="score-ray export --it", COMP_CWORD="2", **complete)
    assert done.stdout.split() == ["--iteration"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_of_a_shell_is_shown(shell):
    # Without this variable the shell is the one that the command was started from.
    chosen = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = program(SCRIPT, "--show-completion", shell, **chosen)
    assert done.returncode == 0
    assert f"_SCORE_RAY_COMPLETE=complete_{shell}" in done.stdout


@pytest.mark.slow
def test_commands_that_start_no_processes_run_as_programs(tmp_path):
    run = sample_figure_run.make_run(tmp_path / "run")
    sample_run_folder.make_run(tmp_path / "unfinished", 0, 2)
    model = config_folder("Qwen/Qwen2.5-1.5B-Instruct", tmp_path)
    for words, expected in (
        (["report", str(tmp_path / "unfinished")], str(tmp_path / "unfinished" / "report.html")),
        (["figures", str(run), "--no-sampling"], str(run / "figures" / "figures.html")),
        (
            ["plan", "configs/math_qwen2.5-1.5b.yaml", f"model.path={model}", "--gpu", "H100"],
            "computed, not measured",
        ),
        (["doctor"], "weight transfer plug-in"),
    ):
        done = program(SCRIPT, *words)
        assert done.stderr == ""
        assert expected in done.stdout
