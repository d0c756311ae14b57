"""The command line, called in the process of the tests."""

from typer.testing import CliRunner, Result

from score_ray.cli.main import app
from score_ray.types import ConfigError


def invoke(*words: object) -> Result:
    """Run a command; what it raises is in the result."""
    return CliRunner().invoke(app, [*map(str, words)], prog_name="score-ray")


def output(*words: object) -> str:
    """Return what a command that succeeds writes on stdout."""
    result = invoke(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refusal(*words: object) -> str:
    """Return the message of the ConfigError that ends a command."""
    result = invoke(*words)
    assert isinstance(result.exception, ConfigError), (result.output, result.exception)
    return str(result.exception)
