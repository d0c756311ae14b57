"""Ends a command on Ctrl-C or SIGTERM."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

EXIT_CODE = 130  # 128 + SIGINT, as shells report it


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Exit with code 130 on Ctrl-C or SIGTERM, with `advice` on stderr."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(advice, err=True)
        raise typer.Exit(EXIT_CODE) from None
