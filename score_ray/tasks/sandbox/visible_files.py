"""Says which files of the machine a sandbox shows to a program."""

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from score_ray.tasks.sandbox.packages import package_files

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
PYTHON = os.path.realpath(sys.executable)


@cache
def visible_files(packages: tuple[str, ...]) -> dict[str, Any]:
    """Return the paths a program can read: the libraries of Python and the system, and packages.

    "shown" maps a path to its place in the sandbox, "links" a link to its target; the folders in
    "hidden" are empty for the program.
    """
    prefixes = {str(Path(PYTHON).parent.parent), sys.base_prefix}
    libraries = [f"{prefix}/{lib}" for prefix in prefixes for lib in {"lib", sys.platlibdir}]
    paths = [path for path in sorted({*LIBRARIES, *libraries}) if os.path.exists(path)]
    links = {path: os.readlink(path) for path in paths if os.path.islink(path)}
    shown = [path for path in paths if path not in links] + [PYTHON]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    hidden = [f"{path}/{version}/site-packages" for path in libraries]
    hidden += ["/usr/lib/python3/dist-packages"]
    return {
        "shown": {path: path for path in shown} | package_files(packages),
        "links": links,
        "hidden": [path for path in hidden if os.path.isdir(path)],
    }
