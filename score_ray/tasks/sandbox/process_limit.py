"""Says which limit keeps this machine from starting another process."""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class ProcessLimit:
    """A limit on the number of processes and threads, where it is set, and how many there are."""

    most: int
    used: int
    place: str

    def __str__(self) -> str:
        """Return a sentence that names the limit."""
        return f"the limit of processes is {self.most} ({self.place}), and {self.used} are in use"


def tightest_limit(cgroups: Path = CGROUPS, proc: Path = Path("/proc")) -> ProcessLimit | None:
    """Return the limit that leaves the fewest processes; None if no limit can be read."""
    limits = [*_cgroup_limits(cgroups, proc), *_user_limit(proc), *_kernel_limits(proc)]
    return min(limits, key=lambda limit: limit.most - limit.used, default=None)


def _cgroup_limits(cgroups: Path, proc: Path) -> Iterator[ProcessLimit]:
    """Yield the limits of this process's control group and of the groups above it."""
    for line in _text(proc / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "pids"):
            root = cgroups / controllers
            folder = root / path.lstrip("/")
            # In a container the path may be the host's, and the files are at the root.
            for group in {folder, *folder.parents, root}:
                most, used = _number(group / "pids.max"), _number(group / "pids.current")
                if group.is_relative_to(root) and most is not None and used is not None:
                    yield ProcessLimit(most, used, str(group / "pids.max"))


def _user_limit(proc: Path) -> Iterator[ProcessLimit]:
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if most != resource.RLIM_INFINITY:
        used = 0
        for entry in proc.glob("[0-9]*"):
            if _owner(entry) == os.getuid():
                used += len(_names(entry / "task"))
        yield ProcessLimit(most, used, "ulimit -u")


def _kernel_limits(proc: Path) -> Iterator[ProcessLimit]:
    used = sum(len(_names(entry / "task")) for entry in proc.glob("[0-9]*"))
    for name in ("kernel/pid_max", "kernel/threads-max"):
        most = _number(proc / "sys" / name)
        if most is not None:
            yield ProcessLimit(most, used, f"sysctl {name.replace('/', '.')}")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
