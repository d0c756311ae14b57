"""Finds the files of the packages that programs and their tests may import.

A sandbox shows the standard library only. A package of `task.packages` is shown with everything
that it requires, read-only, in a folder that holds nothing else.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    packages_distributions,
)
from pathlib import Path

from packaging.requirements import Requirement

FOLDER = "/packages"  # where a sandbox shows them


@cache
def package_files(names: tuple[str, ...]) -> dict[str, str]:
    """Return the files and folders of these packages, and where a sandbox shows them.

    A name is that of a package or of a module in it ("scikit-learn" or "sklearn"). Raises
    ValueError for a package that is not installed here.
    """
    found: dict[str, str] = {}
    for dist in _with_requirements([_named(name) for name in names]).values():
        entries = {Path(file).parts[0] for file in dist.files or ()}
        for entry in sorted(entries - {"..", "__pycache__"}):
            source = Path(str(dist.locate_file(entry)))
            if source.exists() and source.suffix != ".pth":
                found[str(source.resolve())] = f"{FOLDER}/{entry}"
    return found


def missing_import(source: str, packages: tuple[str, ...]) -> str:
    """Return a module that the code imports and a sandbox with these packages lacks; else "".

    An import whose failure the code itself expects does not count.
    """
    shown = {Path(target).name.split(".")[0] for target in package_files(packages).values()}
    has = sys.stdlib_module_names | shown
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Try) and node.handlers:
            waiting += [*node.handlers, *node.orelse, *node.finalbody]
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or "."] if isinstance(node, ast.ImportFrom) else names
            missing = [name for name in modules if name.split(".")[0] not in has]
            if missing:
                return missing[0]
        waiting += ast.iter_child_nodes(node)
    return ""


def _with_requirements(dists: Iterable[Distribution]) -> dict[str, Distribution]:
    """Return the packages and all that they require, by name; what is not installed is left out."""
    found: dict[str, Distribution] = {}
    waiting = list(dists)
    while waiting:
        dist = waiting.pop()
        if dist.name not in found:
            found[dist.name] = dist
            waiting += _required(dist)
    return found


def _required(dist: Distribution) -> list[Distribution]:
    found = []
    for requirement in map(Requirement, dist.requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            try:
                found.append(distribution(requirement.name))
            except PackageNotFoundError:
                continue
    return found


def _named(name: str) -> Distribution:
    """Return an installed package with files, by its name or that of a module in it."""
    found = _installed(name)
    if not found:
        names = _packages_of_modules().get(name, ())
        found = next(filter(None, map(_installed, names)), None)
    if not found:
        raise ValueError(
            f"task.packages: {name!r} is not installed beside score-ray; install it first"
        )
    return found


def _installed(name: str) -> Distribution | None:
    try:
        dist = distribution(name)
    except (PackageNotFoundError, ValueError):
        return None
    return dist if dist.files else None


@cache
def _packages_of_modules() -> Mapping[str, list[str]]:
    """Return the names of the packages by module; slow, since it reads the files of all."""
    return packages_distributions()
