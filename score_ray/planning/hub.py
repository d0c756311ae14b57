"""Asks whether Hugging Face can be reached, before a library tries it again and again."""

import os
import socket
import sys
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies

from score_ray.types import ConfigError

SECONDS = 5.0


@cache
def check_hub(model: str) -> None:
    """Raise ConfigError if a model's name needs a hub that cannot be reached.

    A model that is in the cache is read from there, without asking the hub.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    # What a proxy can reach is not known here.
    if os.path.isdir(model) or constants.HF_HUB_OFFLINE or {"http", "https"} & set(getproxies()):
        return
    fault = _fault(constants.ENDPOINT)
    if not fault:
        return
    if not isinstance(try_to_load_from_cache(model, "config.json"), str):
        raise ConfigError(
            f"model.path: {model} is not in the cache ({constants.HF_HUB_CACHE}), and "
            f"{constants.ENDPOINT} cannot be reached: {fault}; model.path=FOLDER takes a folder "
            "with the model's files"
        )
    print(f"note: {model} is read from the cache: {fault}", file=sys.stderr)
    os.environ["HF_HUB_OFFLINE"] = "1"  # for the processes of the run
    constants.HF_HUB_OFFLINE = True


def _fault(endpoint: str) -> str:
    """Return why an endpoint cannot be reached, or nothing."""
    parts = urlsplit(endpoint)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=SECONDS).close()
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""
