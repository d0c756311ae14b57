"""Reads and writes the files of a run folder, whose names only this module knows.

The .jsonl files are the truth: generations.txt, accuracies.txt, accuracy.png and report.html
can be made from them again at any time.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from score_ray.config.config import Config
from score_ray.config.loading import dump, load
from score_ray.reporting import record_faults
from score_ray.reporting.atomic_files import replace_file
from score_ray.reporting.folder_lock import locked, set_aside
from score_ray.reporting.json_lines import (
    Record,
    append_lines,
    append_text,
    as_lines,
    read_jsonl,
)
from score_ray.reporting.metrics import StepResult, step_record, step_result
from score_ray.reporting.transcripts import (
    accuracies_text,
    answer_record,
    generations_text,
    transcript,
)
from score_ray.types import ConfigError, GradedEpisode, RunError, UnusableRow

TEST, HELD_OUT = "test", "held_out"  # the splits that a run is evaluated on
METRICS = "metrics.jsonl"  # a record per iteration
EVALS, ACCURACIES_TEXT = "evals.jsonl", "accuracies.txt"  # evaluations
GENERATIONS, GENERATIONS_TEXT = "generations.jsonl", "generations.txt"  # training episodes
EVENTS = "events.jsonl"  # lost processes and alarms
ANSWERS = "answers"  # a file for each evaluation on the test split
FIRST_ATTEMPTS = "first_attempts.jsonl"  # of the base model, for rollout.offline_share
EXTRA_SAMPLES = "study"  # a file for each kind and model; named so for older runs
INPUTS, ROW_HASHES = "inputs.json", "row_hashes.npz"  # what the run has read
UNUSABLE = "unusable_rows.jsonl"  # rows of the data that were left out
MODEL_UPDATES = "model_updates.txt"  # the updates that the trained model has seen
UNFINISHED_CHECKPOINT = ".tmp-"  # how the name of a checkpoint begins that is not yet whole


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def config_file(self) -> Path:
        """The resolved config of the run."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The folder of the trained model, which a finished run leaves."""
        return self.path / "model"

    @property
    def inputs(self) -> Path:
        """The names and digests of what the run has read."""
        return self.path / INPUTS

    @property
    def row_hashes(self) -> Path:
        """The hash of each row that the run has read, by split."""
        return self.path / ROW_HASHES

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def accuracy_plot(self) -> Path:
        """The picture of accuracy over the updates."""
        return self.path / "accuracy.png"

    @property
    def figures(self) -> Path:
        """The folder of the paper's figures for this run."""
        return self.path / "figures"

    @property
    def evaluation(self) -> "RunFolder":
        """The folder of a later evaluation of the trained model."""
        return RunFolder(self.path / "eval")

    # The config and the model.

    def config(self, overrides: Sequence[str] = ()) -> Config:
        """Return the run's config with some keys overridden.

        Raises ConfigError if there is none, or if it does not fit.
        """
        return load(self.config_file, overrides, saved=True)

    def write_config(self, config: Config) -> None:
        """Write the config that the run has from now on."""
        replace_file(self.config_file, dump(config).encode())

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, be it damaged."""
        names = (path.name for path in self.checkpoints.glob("*"))
        return any(not name.startswith(UNFINISHED_CHECKPOINT) for name in names)

    @property
    def has_records(self) -> bool:
        """Whether an iteration or an evaluation was recorded."""
        paths = (self.path / METRICS, self.path / EVALS)
        return any(path.is_file() and path.stat().st_size for path in paths)

    def set_aside(self) -> Path | None:
        """Move all that the locked folder holds into a new one beside it; return that, if any."""
        return set_aside(self.path, self.config_file.name)

    @property
    def has_model(self) -> bool:
        """Whether the run has left a trained model."""
        return self.model.is_dir()

    def trained_model(self) -> Path:
        """Return the folder of the trained model; raise ConfigError if there is none."""
        if not self.config_file.is_file():
            raise ConfigError(f"{self}: not a run folder: it has no {self.config_file.name}")
        if not self.has_model:
            raise ConfigError(f"{self}: has no model yet; a finished run leaves one")
        return self.model

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder for a block; raise ConfigError if another process runs in it."""
        return locked(self.path, "another process is running in this run folder")

    @property
    def model_updates(self) -> int:
        """Number of updates that the trained model has seen.

        Folders of an older version do not say; there it was the last model to be evaluated.
        """
        path = self.path / MODEL_UPDATES
        if path.is_file():
            return int(path.read_text())
        return max((r["iteration"] for r in self.evals(TEST)[-1:]), default=0)

    def write_model_updates(self, updates: int) -> None:
        """Record the updates of the trained model; rename extra samples of the one before it."""
        if updates != (before := self.model_updates):
            for path in (self.path / EXTRA_SAMPLES).glob("*_model.jsonl"):
                path.rename(path.with_name(f"{path.name}.after_{before}"))
        replace_file(self.path / MODEL_UPDATES, str(updates).encode())

    # Reading.

    def check_records(self) -> None:
        """Raise ValueError, naming file and line, if a record of the run cannot be read."""
        for read in (self.metrics, self.evals, self.generations, self.events):
            read()

    def metrics(self) -> list[Record]:
        """Return a record per iteration."""
        return read_jsonl(self.path / METRICS, record_faults.of_step)

    def steps(self) -> list[StepResult]:
        """Return the result of each iteration."""
        return [step_result(record) for record in self.metrics()]

    def iterations_done(self) -> int:
        """Return the number of records in metrics.jsonl, without parsing them."""
        path = self.path / METRICS
        return path.read_bytes().count(b"\n") if path.is_file() else 0

    def evals(self, split: str | None = None) -> list[Record]:
        """Return a record per evaluation, on one split or on all."""
        records = read_jsonl(self.path / EVALS, record_faults.of_evaluation)
        return [r for r in records if split in (None, r["split"])]

    def generations(self) -> list[Record]:
        """Return the transcripts of training episodes."""
        return read_jsonl(self.path / GENERATIONS, record_faults.of_record)

    def events(self) -> list[Record]:
        """Return what happened to the run's processes, and its alarms."""
        return read_jsonl(self.path / EVENTS, record_faults.of_record)

    def answers(self) -> dict[int, list[Record]]:
        """Return the answers of each evaluation on the test split, by the updates before it."""
        paths = sorted((self.path / ANSWERS).glob("after_*.jsonl"))
        return {int(path.stem.removeprefix("after_")): read_jsonl(path) for path in paths}

    def first_attempts(self) -> list[Record]:
        """Return the base model's first attempts; raise RunError if the file is gone."""
        path = self.path / FIRST_ATTEMPTS
        if not path.is_file():
            raise RunError(f"{path}: the base model's first attempts are missing")
        return read_jsonl(path)

    def unusable_rows(self) -> list[Record]:
        """Return the rows of the data that were left out."""
        return read_jsonl(self.path / UNUSABLE)

    def extra_samples(self, kind: str, model: str) -> Path:
        """Return the path of the extra samples of a kind that "model" or "base" gave."""
        return self.path / EXTRA_SAMPLES / f"{kind}_{model}.jsonl"

    def all_extra_samples(self) -> list[Path]:
        """Return the paths of all extra samples that there are."""
        return sorted((self.path / EXTRA_SAMPLES).glob("*.jsonl"))

    # Writing.

    def append_step(self, result: StepResult) -> None:
        """Append the result of an iteration."""
        append_lines(self.path / METRICS, [step_record(result)])

    def append_evaluation(self, record: Record) -> None:
        """Append an evaluation, as a record and as a line of text."""
        append_lines(self.path / EVALS, [record])
        append_text(self.path / ACCURACIES_TEXT, accuracies_text([record]))

    def append_generations(self, graded: Iterable[GradedEpisode], iteration: int) -> None:
        """Append transcripts of an iteration's episodes, as records and as text."""
        records = [transcript(g, iteration) for g in graded]
        append_lines(self.path / GENERATIONS, records)
        append_text(self.path / GENERATIONS_TEXT, generations_text(records))

    def append_event(self, record: Record) -> None:
        """Append what happened to a process of the run, or an alarm."""
        append_lines(self.path / EVENTS, [record])

    def write_answers(self, graded: Iterable[GradedEpisode], done: int) -> None:
        """Write the answers of an evaluation after `done` updates."""
        folder = self.path / ANSWERS
        folder.mkdir(exist_ok=True)
        lines = as_lines(answer_record(g) for g in graded)
        replace_file(folder / f"after_{done:06d}.jsonl", lines.encode(errors="replace"))

    def write_first_attempts(self, records: Iterable[Record]) -> None:
        """Write the base model's first attempts."""
        replace_file(self.path / FIRST_ATTEMPTS, as_lines(records).encode())

    def write_unusable_rows(self, rows: Iterable[UnusableRow]) -> None:
        """Write the rows of the data that were left out."""
        lines = as_lines(asdict(row) for row in rows)
        replace_file(self.path / UNUSABLE, lines.encode(errors="replace"))

    def rename_evaluation(self, done: int, label: str, new_label: str) -> None:
        """Give the evaluation with this label after `done` updates another one."""
        for record in (records := self.evals()):
            if (record["iteration"], record.get("label")) == (done, label):
                record["label"] = new_label
        replace_file(self.path / EVALS, as_lines(records).encode())

    def rewind(self, resume_at: int) -> None:
        """Delete the records after `resume_at` updates; events stay.

        An evaluation with iteration k is taken after k updates, before the checkpoint of k, so
        a run that resumes at k has it already; only a run from 0 takes its first one (again).
        """
        _keep(self.path / METRICS, lambda r: r["iteration"] < resume_at)
        generations = _keep(self.path / GENERATIONS, lambda r: r["iteration"] < resume_at)
        evals = _keep(self.path / EVALS, lambda r: r["iteration"] <= resume_at and resume_at > 0)
        if (self.path / EVENTS).exists():
            # Drop a half-written last line, so that the next event starts on a line of its own.
            _keep(self.path / EVENTS, lambda r: True)
        for path, text in (
            (self.path / GENERATIONS_TEXT, generations_text(generations)),
            (self.path / ACCURACIES_TEXT, accuracies_text(evals)),
        ):
            replace_file(path, text.encode(errors="replace"))


def _keep(path: Path, wanted: Callable[[Record], bool]) -> list[Record]:
    """Rewrite a .jsonl file with the records that are wanted, and return them."""
    records = [record for record in read_jsonl(path, record_faults.of_record) if wanted(record)]
    replace_file(path, as_lines(records).encode())
    return records
