"""Checks how many files this process may have open, before Ray hangs for lack of them."""

import resource

from score_ray.types import ConfigError

OPEN_FILES = 256  # with this many, runs were seen to work


def open_files_limit() -> int | None:
    """Return how many files a process may have open; None without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def check_open_files() -> None:
    """Raise ConfigError if the limit of open files is too low for a run."""
    limit = open_files_limit()
    if limit is not None and limit < OPEN_FILES:
        raise ConfigError(
            f"a run needs {OPEN_FILES} open files, and {limit} are allowed; raise the limit with "
            f"`ulimit -n {OPEN_FILES}` or more"
        )
