"""Tables on the terminal."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from score_ray.reporting.run_folder import RunFolder


def show(table: Any) -> None:
    """Print a rich table on stdout."""
    from rich.console import Console

    Console().print(table)


def show_results(folder: "RunFolder", iterations: Collection[int] | None = None) -> None:
    """Print the evaluations on the test split that a run folder holds.

    With `iterations`, only those taken after so many updates, and those of a selected checkpoint.
    """
    from score_ray.reporting.reporter import results_table
    from score_ray.reporting.run_folder import TEST
    from score_ray.reporting.transcripts import label_of

    tests = folder.evals(TEST)
    shown = [
        record
        for record in tests
        if iterations is None
        or record["iteration"] in iterations
        or label_of(record).startswith("selected")
    ]
    show(results_table(shown, [label_of(record) for record in shown]))
