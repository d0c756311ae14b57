"""Checks that a model folder holds every weight of its model, without reading the weights.

transformers gives weights that are not in the files random values, with a warning alone.
"""

import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from score_ray.types import ConfigError

MOST_QUIET = logging.CRITICAL
# A weight's name, its shape in a file, and the one that config.json says.
Misshapen = tuple[str, Sequence[int], Sequence[int]]
SHOWN = 3  # weights that are named in an error


def check_weights(folder: str, place: str) -> None:
    """Raise ConfigError if weights are missing or do not load; `place` begins its message.

    A Hugging Face name passes: its weights are checked when the learner has loaded them.
    """
    if not Path(folder).is_dir():
        return
    from safetensors import SafetensorError

    try:
        missing, misshapen = _faulty_weights(folder)
    except pickle.UnpicklingError as error:
        # The error of torch advises to run whatever the file holds.
        raise ConfigError(
            f"{place}: its .bin file holds other things than weights, which are not run; save the "
            "model in safetensors"
        ) from error
    except SafetensorError as error:
        raise ConfigError(
            f"{place}: a safetensors file is damaged or cut off: {error}; copy it again"
        ) from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{place}: its weights do not load: {_reason(error)}") from error
    if misshapen:
        name, found, expected = misshapen[0]
        raise ConfigError(
            f"{place}: {len(misshapen)} of the model's weights have another shape than config.json "
            f"says: {name} has {list(found)} in place of {list(expected)}; copy the whole model "
            "again"
        )
    refuse_missing(missing, place)


def refuse_missing(missing: list[str], place: str) -> None:
    """Raise ConfigError if weights are missing; `place` begins its message."""
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise ConfigError(
            f"{place}: {len(missing)} of the model's weights are in none of its files, and would "
            f"be random: {', '.join(missing[:SHOWN])}{more}; copy the whole model again"
        )


def _faulty_weights(folder: str) -> tuple[list[str], list[Misshapen]]:
    """Load a model without values, on the device "meta".

    Return the names of the weights that are missing, and those of another shape.
    """
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained
    with _silence():
        _, found = load(
            folder, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True
        )
    return sorted(found["missing_keys"]), sorted(found["mismatched_keys"])


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def _silence() -> Iterator[None]:
    """Keep transformers from printing a bar and its report, which an error says shorter."""
    from transformers.utils import logging as messages

    verbosity = messages.get_verbosity()
    had_bar = messages.is_progress_bar_enabled()
    messages.set_verbosity(MOST_QUIET)
    messages.disable_progress_bar()
    try:
        yield
    finally:
        messages.set_verbosity(verbosity)
        if had_bar:
            messages.enable_progress_bar()
