"""The limit of open files."""

import resource

import pytest

from score_ray.runtime.open_files import check_open_files
from score_ray.types import ConfigError


@pytest.mark.parametrize("limit", [256, 100_000, resource.RLIM_INFINITY])
def test_a_limit_that_is_high_enough_is_no_error(monkeypatch, limit):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    check_open_files()


@pytest.mark.parametrize("limit", [0, 32, 255])
def test_a_low_limit_is_named_with_the_command_that_raises_it(monkeypatch, limit):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    with pytest.raises(ConfigError, match=f"{limit} are allowed; raise .* `ulimit -n 256`"):
        check_open_files()
