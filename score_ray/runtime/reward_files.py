"""Finds the files of a reward function of one's own that have to travel with a job.

A module alone travels with the modules that it imports, and a package with its whole folder,
data files included. Modules are looked up where Python looks them up: on PYTHONPATH and in the
working directory. What is installed does not travel.
"""

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from importlib.machinery import PathFinder
from pathlib import Path

from score_ray.types import ConfigError

OURS = ("score_ray", "launch")  # travel with every job
MOST_MB = 20.0
# Names of files that may hold a secret; hidden files, such as .env, never travel.
SECRETS = (
    "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*", "*credential*",
    "*secret*", "*token.txt", "*token.json", "*password*",
)  # fmt: skip


def reward_files(place: str) -> dict[Path, Path]:
    """Return the files that the reward at "module:function" needs, by their path in the job.

    It is empty if the module is installed, or is not found here. Raises ConfigError if there are
    more than MOST_MB of them.
    """
    found: dict[Path, Path] = {}
    wanted, seen = [place.partition(":")[0].partition(".")[0]], {"", *OURS}
    while wanted:
        if (name := wanted.pop()) in seen:
            continue
        seen.add(name)
        files = dict(_own_files(name))
        _check_size(name, files)
        found |= files
        wanted += [each for path in files.values() for each in _imported(path)]
    return found


def _own_files(name: str) -> Iterator[tuple[Path, Path]]:
    """Yield the files of a module or package that is not installed: path in the job, and here."""
    spec = PathFinder.find_spec(name, [*sys.path, str(Path.cwd())])
    if not spec or name in sys.stdlib_module_names:
        return
    if spec.submodule_search_locations is None:
        module = Path(spec.origin or "").absolute()
        if not _is_installed(module):
            yield Path(module.name), module
        return
    for folder in map(Path, spec.submodule_search_locations):
        if not _is_installed(folder.absolute()):
            yield from ((Path(name, path.relative_to(folder)), path) for path in _walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that travel."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith((".", "__pycache__"))
            and not Path(parent, name, "pyvenv.cfg").exists()
        ]
        yield from (Path(parent, name) for name in sorted(names) if _travels(Path(parent, name)))


def _travels(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith(".") or name.endswith(".pyc") or not path.is_file():
        return False
    return name.endswith(".py") or not any(fnmatch(name, pattern) for pattern in SECRETS)


def _is_installed(path: Path) -> bool:
    paths = sysconfig.get_paths()
    return any(
        path.is_relative_to(paths[kind]) for kind in ("stdlib", "platstdlib", "purelib", "platlib")
    )


def _imported(path: Path) -> Sequence[str]:
    """Return the first parts of the names of the modules that a file imports."""
    if path.suffix != ".py":
        return []
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []  # the import in the job says what is wrong with it
    names: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names += [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module=str(module)):
                names.append(module)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                names.append(module)
    return [name.partition(".")[0] for name in names]


def _check_size(name: str, files: dict[Path, Path]) -> None:
    megabytes = sum(path.stat().st_size for path in files.values()) / 2**20
    if megabytes > MOST_MB:
        largest = max(files, key=lambda file: files[file].stat().st_size)
        raise ConfigError(
            f"grading.reward: {name} has {megabytes:.0f} MiB of files, and at most {MOST_MB:.0f} "
            f"travel with a job; keep data, such as {largest}, out of its folder"
        )
