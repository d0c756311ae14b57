"""All bad inputs."""

from tests.bad_inputs import commands, data, environment, models, options, resumed, rewards

CASES = [
    *data.CASES,
    *options.CASES,
    *models.CASES,
    *rewards.CASES,
    *environment.CASES,
    *resumed.CASES,
    *commands.CASES,
]
