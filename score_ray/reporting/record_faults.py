"""Says what is wrong with records of a run that were damaged, or edited by hand."""

from collections.abc import Sequence

from score_ray.reporting.json_lines import Record

# Keys of metrics.jsonl and evals.jsonl with a text; all others have numbers.
TEXTS = ("stage", "task", "split", "label")


def of_record(record: Record) -> str:
    """Return what a record of any kind lacks, or ""."""
    return _missing(record, ("iteration",))


def of_step(record: Record) -> str:
    """Return what is wrong with a record of metrics.jsonl, or ""."""
    return _missing(record, ("iteration", "stage")) or _wrong_type(record)


def of_evaluation(record: Record) -> str:
    """Return what is wrong with a record of evals.jsonl, or ""."""
    return _missing(record, ("iteration", "split")) or _wrong_type(record)


def _missing(record: Record, keys: Sequence[str]) -> str:
    lacking = [key for key in keys if key not in record]
    return f"no {lacking[0]!r} in this record" if lacking else ""


def _wrong_type(record: Record) -> str:
    for key, value in record.items():
        if not isinstance(value, str if key in TEXTS else int | float):
            return f"{key!r} is not a {'text' if key in TEXTS else 'number'}"
    return ""
