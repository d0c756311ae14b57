"""The command line, called in the process of the tests."""

from typer.testing import CliRunner, Result

from score_ray.cli.commands import app
from score_ray.types import ConfigError


def invoke(*words: object) -> Result:
    """Run a command; if it raises, the result has the exception."""
    return CliRunner().invoke(app, [*map(str, words)], prog_name="score-ray")


def output(*words: object) -> str:
    """Run a command that must succeed, and return its stdout."""
    result = invoke(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refusal(*words: object) -> str:
    """Run a command that must end with a ConfigError, and return its message."""
    result = invoke(*words)
    assert isinstance(result.exception, ConfigError), (result.output, result.exception)
    return str(result.exception)
