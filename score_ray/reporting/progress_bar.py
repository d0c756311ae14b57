"""Progress on stderr: lines, and on a terminal a bar below them."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class ProgressBar:
    """A bar with a description on a terminal, and lines above it; elsewhere only the lines."""

    def __init__(self, total: int, completed: int, quiet: bool = False) -> None:
        """Show a bar of `total` steps if stderr is a terminal; with `quiet` show nothing."""
        self._console = Console(stderr=True, quiet=quiet)
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            columns = BarColumn(bar_width=20), TextColumn("{task.description}", markup=False)
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("starting", total=total, completed=completed)
            self._bar.start()

    @property
    def visible(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None

    def update(self, completed: int, description: str | None = None) -> None:
        """Move the bar, if there is one, and change its description, if one is given."""
        if self._bar is not None:
            self._bar.update(self._task, completed=completed, description=description)

    def print(self, line: str) -> None:
        """Print a line above the bar, without wrapping it or reading brackets as markup."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()
