"""Finds a folder for the caches of libraries where the home folder cannot be written to.

Hugging Face, DeepSpeed, vLLM and matplotlib keep caches below XDG_CACHE_HOME or XDG_CONFIG_HOME,
by default in the home folder, and Triton in the home folder itself. They read these variables
when they are imported.
"""

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

# Each variable with its default place in the home folder, and its place in the folder chosen here.
PLACES = {
    "XDG_CACHE_HOME": (".cache", "cache"),
    "XDG_CONFIG_HOME": (".config", "config"),
    "TRITON_HOME": ("", "triton"),
}


def use_writable_caches() -> None:
    """Set the variables whose folder cannot be written to, and say so on stderr."""
    unwritable = {name: folder for name, folder in cache_folders().items() if not writable(folder)}
    if not unwritable:
        return
    chosen = Path(tempfile.gettempdir(), f"score-ray-{os.getuid()}")
    keep_downloads(unwritable.get("XDG_CACHE_HOME"))
    for name in unwritable:
        os.environ[name] = str(chosen / PLACES[name][1])
    print(
        f"note: {' and '.join(map(str, dict.fromkeys(unwritable.values())))} cannot be written to; "
        f"caches of libraries are kept in {chosen} instead; {', '.join(unwritable)} can name "
        "another folder",
        file=sys.stderr,
    )


def cache_folders() -> dict[str, Path]:
    """Return the folder of each variable, as it is set or by default."""
    home = Path(os.path.expanduser("~"))
    return {
        name: Path(os.environ.get(name) or home / default) for name, (default, _) in PLACES.items()
    }


def keep_downloads(cache: Path | None) -> None:
    """Let Hugging Face go on reading models from a cache that can only be read."""
    hub = cache / "huggingface" / "hub" if cache else None
    if hub and hub.is_dir() and not {"HF_HOME", "HF_HUB_CACHE"} & set(os.environ):
        os.environ["HF_HUB_CACHE"] = str(hub)


def writable(folder: Path) -> bool:
    """Return whether a folder, or its nearest parent if it is missing, can be written to."""
    with suppress(OSError):
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        # The permissions alone do not say it: a mount may be read-only, and root may do anything.
        with tempfile.TemporaryFile(dir=there):
            return True
    return False
