"""Decides how a run begins in its folder: from a checkpoint, or anew, and what has to be said.

Nothing is written before the participants of the run have started, so that a start that fails
leaves everything as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass

from score_ray.config.loading import input_errors
from score_ray.reporting.run_claim import changed_keys, decay_note, grows, is_claimed
from score_ray.reporting.run_folder import RunFolder
from score_ray.training import checkpoint
from score_ray.training.checkpoint import Checkpoint
from score_ray.training.input_record import (
    InputRecord,
    changes,
    read_record,
    record_of,
    write_record,
)
from score_ray.training.inputs import Inputs
from score_ray.types import ConfigError


@dataclass(frozen=True, slots=True)
class Start:
    """How a run begins: after a checkpoint, or from the base model if there is none."""

    folder: RunFolder
    inputs: Inputs
    record: InputRecord
    saved: Checkpoint | None
    damaged: tuple[str, ...] = ()  # checkpoints that were passed over
    notes: tuple[str, ...] = ()
    moves_aside: bool = False  # what the folder holds belongs to another run
    grown: tuple[int, str] | None = None  # the older end of a run that is made longer, its stage

    @property
    def iteration(self) -> int:
        """Number of iterations that are done."""
        return self.saved.progress.iteration if self.saved else 0

    def claim(self, note: Callable[[str], None]) -> None:
        """Make the folder that of this run; call it when the participants have started."""
        for line in self.notes:
            note(line)
        if self.moves_aside and (place := self.folder.set_aside()):
            note(f"what {self.folder} held is now in {place}")
        if self.grown:
            done, stage = self.grown
            # The weights there are no longer those that the stage ends with.
            self.folder.rename_evaluation(done, stage, f"iteration {done}")
            note(f"{stage} ended after {done} iterations, and is now longer")
        if self.folder.has_model:
            self.folder.write_model_updates(self.folder.model_updates)
        self.folder.write_config(self.inputs.config)
        write_record(self.folder, self.record)
        self.folder.write_unusable_rows(self.inputs.left_out)


def plan_start(folder: RunFolder, inputs: Inputs, fresh: bool) -> Start:
    """Return how a run with these inputs begins in a folder that it may use.

    With `fresh` it begins anew, whatever the folder holds. Raises ConfigError if the folder is
    claimed by a run with other inputs, or holds records that cannot be read; CheckpointError if
    no checkpoint can be read.
    """
    record = record_of(inputs)
    if fresh:
        return Start(folder, inputs, record, None, moves_aside=True)
    damaged: list[str] = []
    saved = checkpoint.newest(folder.checkpoints, damaged.append)
    if not saved and _belongs_to_another_run(folder, inputs, record):
        note = f"{folder} holds another run, which has left neither checkpoint nor model"
        return Start(folder, inputs, record, None, notes=(note,), moves_aside=folder.has_records)
    with input_errors():
        folder.check_records()
    notes = _compared(folder, inputs, record) if is_claimed(folder) else []
    if saved and (note := _growth_note(folder, inputs, saved.progress.iteration)):
        notes.append(note)
    if not saved and folder.has_records:
        notes.append("there is no checkpoint yet: the run starts anew")
    grown = _grown(folder, inputs, saved.progress.iteration) if saved else None
    return Start(folder, inputs, record, saved, tuple(damaged), tuple(notes), grown=grown)


def _belongs_to_another_run(folder: RunFolder, inputs: Inputs, record: InputRecord) -> bool:
    """Return whether a folder that nobody claims holds the start of a run with other inputs."""
    if is_claimed(folder) or not folder.config_file.is_file():
        return False
    try:
        older = folder.config()
    except ConfigError:  # it cannot be read, or has keys of another version
        return True
    if changed_keys(folder, older, inputs.config):
        return True
    before = read_record(folder)
    return before is not None and bool(changes(before, record, inputs))


def _compared(folder: RunFolder, inputs: Inputs, record: InputRecord) -> list[str]:
    """Return notes on what is different from what the run has read; refuse other data."""
    before = read_record(folder)
    if before is None:
        return ["an older version began this run; whether its data changed cannot be said"]
    if changed := changes(before, record, inputs):
        raise ConfigError(
            f"{folder} holds a run of other data; choose another name=..., or begin anew with "
            "--fresh, which moves the folder aside. These differ:\n  " + "\n  ".join(changed)
        )
    if before.reward != record.reward:
        return [f"the source of grading.reward {inputs.config.grading.reward} has changed"]
    return []


def _growth_note(folder: RunFolder, inputs: Inputs, done: int) -> str:
    """Return what a greater length does to the learning rate after `done` iterations."""
    older = folder.config()
    return decay_note(older, inputs.config, done) if grows(older, inputs.config) else ""


def _grown(folder: RunFolder, inputs: Inputs, done: int) -> tuple[int, str] | None:
    """Return the older end, and the last stage's name, if that stage was done and is longer now."""
    older = folder.config()
    if not grows(older, inputs.config) or older.iterations in inputs.config.stage_ends():
        return None
    return (older.iterations, older.stages[-1].name) if done >= older.iterations else None
