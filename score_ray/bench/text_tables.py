"""Tables of measurements as plain text."""

import io
from collections.abc import Sequence

from rich.box import HEAVY_HEAD, Box
from rich.console import Console
from rich.table import Table


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], box: Box = HEAVY_HEAD
) -> Table:
    """Return a table with these columns and rows of text; "" is no title."""
    made = Table(*columns, title=title or None, box=box)
    for row in rows:
        made.add_row(*row)
    return made


def text_of(*tables: Table, width: int = 100) -> str:
    """Return tables one below the other as plain text."""
    out = io.StringIO()
    console = Console(file=out, width=width)
    for one in tables:
        console.print(one)
    return out.getvalue()
