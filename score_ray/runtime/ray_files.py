"""Chooses the folder for the files of a private Ray, and removes them."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from score_ray.types import ConfigError

VARIABLES = ("RAY_TMPDIR", "TMPDIR")  # Ray reads them in this order
USUAL = Path("/tmp")
# The kernel takes this many bytes for the path of a socket.
LONGEST_SOCKET = 107
# What Ray appends to its folder, with a process number of seven digits.
SOCKET = "/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
NEEDED = 100 * 2**20  # bytes for the logs of a run, and some room


def folder_for_ray() -> Path:
    """Return a folder that a private Ray can use: the one that it would use, or a shorter one.

    Raises ConfigError, naming the variable to set, if there is none. A TMPDIR that is no folder
    is refused too: everything else would silently fall back to another place.
    """
    temporary = os.environ.get("TMPDIR")
    if temporary and not Path(temporary).is_dir():
        raise ConfigError(f"TMPDIR={temporary}: there is no such folder; make it, or name another")
    variable = next((name for name in VARIABLES if os.environ.get(name)), "")
    named = Path(os.environ.get(variable) or USUAL)
    folder = named.absolute() / "ray"
    if not fits(folder):
        folder = USUAL / "ray"
    _check_writable(folder, f"{variable}={named}" if variable else str(named))
    return folder


def fits(folder: Path) -> bool:
    """Return whether the paths of Ray's sockets in a folder are short enough."""
    return len(os.fsencode(f"{folder}{SOCKET}")) <= LONGEST_SOCKET


def remove_session(session: Path) -> None:
    """Remove the files of a Ray that has ended, and the link to them."""
    shutil.rmtree(session, ignore_errors=True)
    latest = session.with_name("session_latest")
    with suppress(OSError):
        if latest.is_symlink() and not latest.exists():
            latest.unlink()


def _check_writable(folder: Path, named: str) -> None:
    advice = "set RAY_TMPDIR to another folder, with a short path"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{named}: Ray cannot write into {folder}: {reason}; {advice}") from error
    if free < NEEDED:
        raise ConfigError(
            f"{named}: {free / 2**20:.0f} MiB are free in {folder}, and Ray needs "
            f"{NEEDED / 2**20:.0f}: make room there, or {advice}"
        )
