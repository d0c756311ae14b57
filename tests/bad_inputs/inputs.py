"""The usual files of a bad input's folder: two configs, data and a small random model."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bad_inputs.case import Make

ARITHMETIC = """\
name: run
model: {path: ./model, max_length: 32}
task: {name: arithmetic, held_out: 20}
prompts: {first: "{question}", correction: "?"}
rollout: {problems: 4, samples: 2, max_tokens: 4, max_running: 32, kv_cache_gb: 0.125}
learner: {learning_rate: 1.0e-4}
stages: [{name: only, iterations: 2, reward: [1.0, 1.0], kl: [0.1, 0.1]}]
evaluation: {problems: 8}
grading: {num_workers: 1, deadline: 5.0}
checkpoint: {every: 1, keep: 2}
"""


def sums(start: int) -> str:
    """Return eight rows of a data set of sums, as JSON lines."""
    pairs = [(a, b) for a in range(start, start + 4) for b in (11, 12)]
    rows = [{"question": f"{a}+{b}=", "answer": str(a + b)} for a, b in pairs]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


ROWS = sums(10)
MATH = ARITHMETIC.replace(
    "{name: arithmetic, held_out: 20}", "{name: math, train: train.jsonl, test: test.jsonl}"
)
CODE = (
    ARITHMETIC.replace(
        "{name: arithmetic, held_out: 20}", "{name: mbpp, train: train.jsonl, test: test.jsonl}"
    )
    .replace("max_length: 32", "max_length: 512")
    .replace("deadline: 5.0", "deadline: 15.0")
)


def usual(folder: Path, model: Path) -> None:
    """Put the configs, the data and a copy of the model into a folder."""
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(ARITHMETIC)
    (folder / "math.yaml").write_text(MATH)
    (folder / "code.yaml").write_text(CODE)
    (folder / "train.jsonl").write_text(ROWS)
    (folder / "test.jsonl").write_text(sums(50))
    shutil.copytree(model, folder / "model")


def file(name: str, content: str | bytes) -> Make:
    """Return what writes a file, and the folders above it."""

    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def both(*makes: Make) -> Make:
    """Return what makes several inputs in turn."""

    def make(folder: Path) -> None:
        for one in makes:
            one(folder)

    return make


def appended(*rows: str, name: str = "train.jsonl") -> Make:
    """Return what appends lines to the usual rows of a file."""
    return file(name, ROWS + "".join(f"{row}\n" for row in rows))


def parquet(name: str, columns: dict[str, Sequence]) -> Make:
    """Return what writes a parquet file with these columns."""

    def make(folder: Path) -> None:
        import pyarrow
        from pyarrow import parquet as library

        library.write_table(pyarrow.table(columns), folder / name)

    return make


def edited(name: str, change: Callable[[bytes], bytes]) -> Make:
    """Return what replaces the content of an existing file."""

    def make(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return make


def removed(*names: str) -> Make:
    """Return what removes files."""

    def make(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return make


def config(old: str, new: str, name: str = "run.yaml") -> Make:
    """Return what changes a text in a config file."""

    def change(content: bytes) -> bytes:
        assert old.encode() in content, f"{name} has no {old!r}"
        return content.replace(old.encode(), new.encode())

    return edited(name, change)
