"""Refuses a model's name at once where no hub can be reached, or lets the cache serve it."""

import os
import sys
from functools import cache

from score_ray.tasks.tables.hub_address import hub_fault
from score_ray.types import ConfigError


@cache
def check_hub(model: str) -> None:
    """Raise ConfigError if a model's name needs a hub that cannot be reached.

    A model that is in the cache is read from there, without asking the hub.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    fault = "" if os.path.isdir(model) else hub_fault()
    if not fault:
        return
    if not isinstance(try_to_load_from_cache(model, "config.json"), str):
        raise ConfigError(
            f"model.path: {model} is not in the cache ({constants.HF_HUB_CACHE}), and {fault}; "
            "model.path=FOLDER takes a folder with the model's files"
        )
    print(f"note: {model} is read from the cache: {fault}", file=sys.stderr)
    os.environ["HF_HUB_OFFLINE"] = "1"  # for the processes of the run
    constants.HF_HUB_OFFLINE = True
