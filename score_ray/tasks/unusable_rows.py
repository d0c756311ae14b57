"""The error for rows of a data set that cannot be used."""

from collections.abc import Sequence

from score_ray.types import UnusableRow

MOST_NAMED = 5  # rows in an error message


def check_unusable(rows: Sequence[UnusableRow], total: int, skip: bool) -> None:
    """Raise ValueError if there are such rows and they are not to be left out, or if all are such.

    `total` is the number of rows that were read, and `skip` the value of task.skip_unusable.
    """
    if not rows or (skip and len(rows) < total):
        return
    remedy = "" if skip else "; mend them, or leave them out with task.skip_unusable=true"
    raise ValueError(f"{describe(rows, total)}{remedy}")


def describe(rows: Sequence[UnusableRow], total: int) -> str:
    """Return one line with the number of such rows, and the first ones with their reasons."""
    named, source = [], ""
    for unusable in rows[:MOST_NAMED]:
        place = "" if unusable.source == source else f"{unusable.source}: "
        source = unusable.source
        named.append(f"{place}row {unusable.row}: {unusable.reason}")
    more = f"; and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    return (
        f"{len(rows)} of {total} rows cannot be used (rows are counted from 0): "
        f"{'; '.join(named)}{more}"
    )
