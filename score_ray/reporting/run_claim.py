"""Says whether a run folder may be used for a config, and which keys stand in the way.

A folder is claimed by a checkpoint or a trained model. Until then any config may begin in it.
"""

import re

from score_ray.config.config import Config
from score_ray.config.loading import differences
from score_ray.config.schema import Stage
from score_ray.reporting.folder_lock import LOCK
from score_ray.reporting.run_folder import EVALS, INPUTS, METRICS, RunFolder
from score_ray.types import ConfigError

# The same model and the same rows may lie elsewhere: a resumed run compares what they hold.
PLACES = re.compile(r"model\.path|task\.(train|test)(\.\d+\.path)?")
MOST_NAMED = 5  # files in an error message


def is_claimed(folder: RunFolder) -> bool:
    """Return whether a run is kept here that can go on, or that has left a model."""
    return folder.has_model or folder.has_checkpoint


def refuse_foreign_folder(folder: RunFolder) -> None:
    """Raise ConfigError if the folder holds files, but no run was ever started in it."""
    names = sorted(path.name for path in folder.path.glob("*"))
    was_started = bool({*names} & {LOCK, METRICS, EVALS, INPUTS})
    if not names or was_started or _loads(folder):
        return
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    raise ConfigError(
        f"{folder}: this is no run folder, but it holds {', '.join(names[:MOST_NAMED])}{more}; "
        "choose another name=... or --runs"
    )


def refuse_other_config(folder: RunFolder, config: Config, advice: str) -> None:
    """Raise ConfigError if the folder is claimed by a run that cannot go on with a config.

    The message names the keys that differ, and ends the first line with the advice. Free keys
    may differ, and those of PLACES if the run has recorded what it read. A run may become longer.
    """
    if not is_claimed(folder):
        return
    if not folder.config_file.is_file():
        raise ConfigError(f"{folder} holds a run whose config.yaml is missing; {advice}")
    try:
        older = folder.config()
    except ConfigError as error:
        raise ConfigError(f"{error}\n{folder} holds a run with this config; {advice}") from error
    changed = changed_keys(folder, older, config)
    if changed:
        raise ConfigError(
            f"{folder} holds a run of another config; {advice}. These keys differ:\n  "
            + "\n  ".join(changed)
        )


def changed_keys(folder: RunFolder, older: Config, config: Config) -> list[str]:
    """Return "key: old value -> new value" for each key that makes this another run."""
    kept = config
    if grows(older, config):
        if fault := growth_fault(older, config):
            return [fault]
        kept = config.model_copy(update={"stages": older.stages})
    changed = differences(kept, older)
    if not folder.inputs.is_file():
        return changed
    names = [line.split(": ")[0] for line in changed]
    # One data set is drawn from in another order than a list of data sets, be it of the same one.
    is_text, was_text = (isinstance(c.task.train, str) for c in (config, older))
    kept_names = [n for n in names if not PLACES.fullmatch(n)]
    if is_text != was_text:
        kept_names += [n for n in names if n == "task.train"]
    return [line for line, name in zip(changed, names, strict=True) if name in kept_names]


def grows(older: Config, config: Config) -> bool:
    """Return whether a config is an older one with more iterations at its end."""
    *first, last = older.stages or (None,)
    if last is None or config.iterations <= older.iterations:
        return False
    head, rest = config.stages[: len(first)], config.stages[len(first) :]
    return head == tuple(first) and bool(rest) and _continues(last, rest[0])


def growth_fault(older: Config, config: Config) -> str:
    """Return why the longer run would not be the older one and more iterations; "" if it is."""
    lengths = f"stages: {older.iterations} iterations -> {config.iterations}"
    if config.rollout.offline_share:
        return (
            f"{lengths}; the first attempts for rollout.offline_share were sampled for the older "
            "number of iterations"
        )
    if not config.is_served(older.iterations):
        return f"{lengths}; the run ended between two broadcasts of the longer one (refresh)"
    return ""


def decay_note(older: Config, config: Config, done: int) -> str:
    """Return what growth does to the learning rate after `done` iterations; "" if nothing.

    It decays over all iterations, so that in a longer run less of it is lost by then.
    """
    lost = 1 - config.learner.decay_to
    if not lost:
        return ""
    before, now = (1 - lost * done / c.iterations for c in (older, config))
    return (
        f"learner.decay_to: the learning rate decays over {config.iterations} iterations now; it "
        f"goes on from {now:.0%} of its value, where {before:.0%} were reached"
    )


def _continues(older: Stage, stage: Stage) -> bool:
    """Return whether a stage is an older one, or the same with more iterations."""
    same = stage.model_copy(update={"iterations": older.iterations}) == older
    return same and stage.iterations >= older.iterations


def _loads(folder: RunFolder) -> bool:
    try:
        folder.config()
    except ConfigError:
        return False
    return True
