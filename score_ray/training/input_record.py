"""Records what a run has read, and says what of it is different when the run is resumed."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from score_ray.config.train_source import TrainSource
from score_ray.reporting.atomic_files import replace_file
from score_ray.reporting.run_folder import TEST, RunFolder
from score_ray.tasks.custom_reward import import_reward
from score_ray.tasks.data_digest import numbering, row_hashes
from score_ray.training.inputs import TRAIN, Inputs
from score_ray.types import ConfigError, Problem

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
MODEL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
)
BLOCKS, BLOCK_BYTES = 64, 2**14  # what is hashed of a file of weights, spread over all of it


@dataclass(frozen=True, slots=True)
class InputRecord:
    """What a run has read. Splits and sources may be missing where they were not read."""

    model: str  # a digest
    reward: str  # a digest of the source of grading.reward; "" without one
    sources: Mapping[str, str]  # task.train and task.test, by split
    numbers: Mapping[str, str]  # a digest of the numbers of the problems, by split
    rows: Mapping[str, np.ndarray]  # a hash of each problem, by split


def record_of(inputs: Inputs) -> InputRecord:
    """Return what these inputs hold."""
    splits = {TRAIN: inputs.train, TEST: inputs.test}
    task = inputs.config.task
    return InputRecord(
        model_digest(inputs.model, inputs.config.model.path),
        _reward_digest(inputs.config.grading.reward),
        {TRAIN: _source(task.train), TEST: _source(task.test)},
        {split: numbering(problems) for split, problems in splits.items()},
        {split: row_hashes(problems) for split, problems in splits.items()},
    )


def write_record(folder: RunFolder, record: InputRecord) -> None:
    """Write a record into a run folder."""
    content = BytesIO()
    np.savez_compressed(content, allow_pickle=False, **dict(record.rows))
    replace_file(folder.row_hashes, content.getvalue())
    plain = {
        "model": record.model,
        "reward": record.reward,
        **{
            split: {
                "source": record.sources[split],
                "rows": len(record.rows[split]),
                "numbers": record.numbers[split],
            }
            for split in record.rows
        },
    }
    replace_file(folder.inputs, (json.dumps(plain, indent=1) + "\n").encode())


def read_record(folder: RunFolder) -> InputRecord | None:
    """Return the record in a run folder, or None if an older version made the folder.

    Raises ConfigError, naming the files, if they are damaged.
    """
    if not folder.inputs.is_file():
        return None
    try:
        plain = json.loads(folder.inputs.read_text())
        with np.load(folder.row_hashes) as arrays:
            rows = dict(arrays)
        return InputRecord(
            plain["model"],
            plain["reward"],
            {split: plain[split]["source"] for split in rows},
            {split: plain[split]["numbers"] for split in rows},
            rows,
        )
    except (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile) as error:
        raise ConfigError(
            f"{folder.inputs} and {folder.row_hashes.name} cannot be read ({error!r}); if you "
            "remove both, the run resumes without comparing its data"
        ) from error


def changes(before: InputRecord, now: InputRecord, inputs: Inputs) -> list[str]:
    """Return a line for each part of the inputs that is not what it was."""
    found = [
        f"task.{split}: {_place(before, now, split)}: {change}"
        for split, problems in ((TRAIN, inputs.train), (TEST, inputs.test))
        if (change := _change(before, now, split, problems))
    ]
    if before.model != now.model:
        found.append(f"model.path: {inputs.config.model.path} holds another model than before")
    return found


def refuse_other_model(folder: RunFolder, inputs: Inputs) -> None:
    """Raise ConfigError if the base model is not the one that the run in a folder began with."""
    before = read_record(folder)
    named = inputs.config.model.path
    if before and before.model != model_digest(inputs.model, named):
        raise ConfigError(f"model.path: {named} holds another model than when {folder} began")


def note_on_test(folder: RunFolder, inputs: Inputs) -> str:
    """Return how the test problems differ from those of the run in a folder; "" if they do not.

    Where the numbers of problems differ, those that both have are compared.
    """
    before = read_record(folder)
    if before is None or TEST not in before.rows:
        return ""
    then, now = before.rows[TEST], row_hashes(inputs.test)
    shared = min(len(then), len(now))
    change = rows_change(then[:shared], now[:shared], inputs.test)
    return f"these are not the test problems of the run: {change}" if change else ""


def rows_change(before: np.ndarray, now: np.ndarray, problems: Sequence[Problem]) -> str:
    """Return how the rows now differ from those before; "" if they are the same."""
    if np.array_equal(before, now):
        return ""
    counts = f"{len(before)} rows before, {len(now)} now"
    shared = min(len(before), len(now))
    differing = np.flatnonzero(before[:shared] != now[:shared])
    if not len(differing):
        kind = "added" if len(now) > len(before) else "missing"
        return f"{counts}; {abs(len(now) - len(before))} are {kind} at the end"
    first = f"the first that differs is {problems[int(differing[0])].place}"
    if len(before) == len(now):
        same = np.array_equal(np.sort(before), np.sort(now))
        counts = f"the same {len(now)} rows in another order" if same else counts
    return f"{counts}; {first}"


def model_digest(model: str, named: str) -> str:
    """Return a digest of a model: its config, its tokenizer, and samples of its weights.

    `named` is what model.path says. A model that is built in is known by its folder's name, and
    one from the hub by its revision.
    """
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{_revision(model)}"
    if ":" in named and not Path(named).expanduser().is_dir():
        return f"{named}@{folder.name}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in WEIGHTS:
            digest.update(f"{path.name} {path.stat().st_size} ".encode())
            digest.update(_samples(path))
        elif path.name in MODEL_FILES:
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _samples(path: Path) -> bytes:
    """Return blocks of a file, from its start to its end; all of a small file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= BLOCKS * BLOCK_BYTES:
            return file.read()
        blocks = []
        for i in range(BLOCKS):
            file.seek((size - BLOCK_BYTES) * i // (BLOCKS - 1))
            blocks.append(file.read(BLOCK_BYTES))
        return b"".join(blocks)


def _revision(name: str) -> str:
    from transformers import AutoConfig

    return str(getattr(AutoConfig.from_pretrained(name), "_commit_hash", None))


def _reward_digest(place: str) -> str:
    """Return a digest of the file that holds a reward function; "" without one."""
    if not place:
        return ""
    import_reward(place)
    source = getattr(sys.modules[place.partition(":")[0]], "__file__", None)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else ""


def _source(named: str | Sequence[TrainSource]) -> str:
    """Return what task.train or task.test names as one text."""
    return named if isinstance(named, str) else ", ".join(source.path for source in named)


def _place(before: InputRecord, now: InputRecord, split: str) -> str:
    then, today = before.sources[split], now.sources[split]
    return (today if then == today else f"{then} -> {today}") or "generated problems"


def _change(before: InputRecord, now: InputRecord, split: str, problems: Sequence[Problem]) -> str:
    if split not in before.rows:
        return ""
    change = rows_change(before.rows[split], now.rows[split], problems)
    if not change and before.numbers[split] != now.numbers[split]:
        return "the same rows under other numbers"
    return change
