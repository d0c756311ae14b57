"""Asks whether the Hugging Face hub can be reached, before a library tries it again and again."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

SECONDS = 5.0  # for a connection


def hub_fault() -> str:
    """Return why the hub cannot be reached; "" if it can, or if that is not to be asked.

    It is not asked offline, nor behind a proxy, since what a proxy reaches is not known here.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or {"http", "https"} & set(getproxies()):
        return ""
    parts = urlsplit(constants.ENDPOINT)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=SECONDS).close()
    except TimeoutError:
        fault = f"no answer within {SECONDS:.0f} s"
    except OSError as error:
        fault = (error.strerror or str(error)).lower()
    else:
        return ""
    return f"{constants.ENDPOINT} cannot be reached: {fault}"
