"""Runs untrusted Python programs so that they cannot harm the machine.

A sandbox is one bare Python process (standard library only) in Linux namespaces of its own: no
network, no other process, a read-only root of system libraries, an empty /tmp in memory, no
environment, no rights, few system calls, and limits on memory, time, files and output.
bubblewrap makes the namespaces where it works; otherwise jail.py asks the kernel for them.
jail.py does the rest in both cases. If neither way works, nothing is run.
"""

import errno
import fcntl
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from select import select
from typing import IO, Any

from score_ray.tasks.sandbox import jail
from score_ray.tasks.sandbox.lifetime import adopting_orphans, end_group
from score_ray.tasks.sandbox.packages import FOLDER
from score_ray.tasks.sandbox.process_limit import tightest_limit
from score_ray.tasks.sandbox.visible_files import PYTHON, visible_files

START_SECONDS = 60.0  # long, for very busy machines
KILLED = 128 + 9  # exit code of a program that used up its CPU time
JAIL_SOURCE = Path(jail.__file__).read_text()

# Kernel settings that deny namespaces to ordinary users: the denying value, and the remedy.
SETTINGS = {
    "kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    "user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=10000"),
}


class IsolationError(ValueError):
    """A failure to isolate a program, which was therefore not run."""


class ProcessShortageError(IsolationError):
    """A failure to start a sandbox because no more processes may be started for now."""

    def __init__(self) -> None:
        limit = tightest_limit()
        which = f": {limit}" if limit else ""
        advice = "raise it, or lower grading.num_workers"
        super().__init__(f"no process can be started for a program{which}; {advice}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one program; what exceeds them is refused, or ends the program."""

    seconds: float = 6.0  # wall-clock time, from when the program is isolated
    cpu_seconds: int = 6
    memory_bytes: int = 512 * 2**20
    temp_bytes: int = 16 * 2**20  # size of /tmp, and so of a file
    output_bytes: int = 2**20
    threads: int = 16
    open_files: int = 64


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The output of a program, and its exit code (128 + n after signal n).

    The exit code is None if the program had to be killed: it ran too long or printed too much.
    """

    output: bytes
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Isolation:
    """A way to get namespaces; `command` makes the command of a jail from its settings."""

    name: str
    command: Callable[[dict[str, Any]], list[str]]


def run(
    source: str,
    limits: Limits = Limits(),  # noqa: B008
    packages: tuple[str, ...] = (),
) -> ProgramResult:
    """Run a program until it ends or exceeds its limits; it may import the named packages.

    Raises IsolationError if it cannot be isolated.
    """
    with sandboxed(source, limits, packages, stdout=subprocess.PIPE) as process:
        await_start(process)
        assert process.stdout
        return _read_output(process, process.stdout, limits)


@contextmanager
def sandboxed(
    source: str,
    limits: Limits,
    packages: tuple[str, ...] = (),
    pass_fds: Sequence[int] = (),
    stdout: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs; it inherits `pass_fds` under the same numbers.

    The program is killed at the end of the block, or when the thread that entered it ends.
    Raises ProcessShortageError if there are too many processes.
    """
    command = find_isolation().command(_settings(limits, packages))
    with _start(command, source, pass_fds, stdout) as process:
        yield process


def await_start(process: subprocess.Popen[bytes]) -> None:
    """Wait until the program is isolated; raise IsolationError if that failed."""
    assert process.stderr
    end, written = time.monotonic() + START_SECONDS, b""
    while not written.endswith(jail.READY):
        piece = os.read(process.stderr.fileno(), 4096) if _readable(process.stderr, end) else b""
        if not piece:
            reason = written.decode(errors="replace").strip()
            if os.strerror(errno.EAGAIN) in reason:
                raise ProcessShortageError
            raise IsolationError(reason or "the sandbox did not start")
        written += piece


@cache
def find_isolation() -> Isolation:
    """Return the first way of isolation that works on this machine.

    Raises IsolationError, which says what to do, if none does.
    """
    failures = []
    for isolation in (BUBBLEWRAP, KERNEL) if shutil.which("bwrap") else (KERNEL,):
        command = isolation.command(_settings(Limits(), ()))
        with _start(command, "", (), subprocess.DEVNULL) as process:
            try:
                await_start(process)
                return isolation
            except IsolationError as error:
                failures.append(str(error).rpartition("\n")[2])
    raise IsolationError(f"programs cannot be isolated here ({'; '.join(failures)}); {_advice()}")


def bubblewrap_command(settings: dict[str, Any]) -> list[str]:
    """Return the command of a jail whose namespaces and root `bwrap` makes."""
    options = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    options += ["--unshare-cgroup-try", "--die-with-parent", "--cap-drop", "ALL"]
    if settings["new_user"]:
        uid = str(settings["uid"])
        options += ["--unshare-user", "--uid", uid, "--gid", uid]
    else:  # jail.py changes from root to a user id that owns nothing
        options += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    options += _bubblewrap_root(settings)
    inner = _jail_command(settings | {"make_namespaces": False})
    return [shutil.which("bwrap") or "bwrap", *options, *inner]


def kernel_command(settings: dict[str, Any]) -> list[str]:
    """Return the command of a jail that makes its namespaces and root itself."""
    return _jail_command(settings | {"make_namespaces": True})


BUBBLEWRAP = Isolation("bubblewrap", bubblewrap_command)
KERNEL = Isolation("kernel", kernel_command)


def _bubblewrap_root(settings: dict[str, Any]) -> list[str]:
    """Return the options for a read-only root of the shown paths, and an empty /tmp."""
    options = []
    for path, place in settings["shown"].items():
        for parent in reversed(Path(place).parents[:-1]):  # bwrap would make them private
            options += ["--perms", "0755", "--dir", str(parent)]
        options += ["--ro-bind", path, place]
    for path, target in settings["links"].items():
        options += ["--symlink", target, path]
    for path in settings["hidden"]:
        options += ["--tmpfs", path, "--remount-ro", path]
    options += ["--perms", "1777", "--size", str(settings["temp_bytes"]), "--tmpfs", "/tmp"]
    return [*options, "--remount-ro", "/", "--chdir", "/tmp"]


@contextmanager
def _start(
    command: list[str], source: str, pass_fds: Sequence[int], stdout: int
) -> Iterator[subprocess.Popen[bytes]]:
    with adopting_orphans(), _sealed_file(source) as stdin:
        try:
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                cwd="/",
                env={"PYTHONHASHSEED": "0"},  # so that sets have the same order every time
                pass_fds=pass_fds,
                start_new_session=True,  # no terminal, and a process group of its own
            )
        except BlockingIOError as error:
            raise ProcessShortageError from error
        with process:
            try:
                yield process
            finally:
                end_group(process)


@contextmanager
def _sealed_file(source: str) -> Iterator[int]:
    """Open a file in memory that holds the source, and that no process can write to."""
    with open(os.memfd_create("source", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
        file.write(source.encode(errors="surrogatepass"))
        file.seek(0)
        seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
        yield file.fileno()


def _read_output(
    process: subprocess.Popen[bytes], pipe: IO[bytes], limits: Limits
) -> ProgramResult:
    """Read until the program ends, or exceeds its time or its output."""
    end = time.monotonic() + limits.seconds
    output = b""
    while len(output) <= limits.output_bytes and _readable(pipe, end):
        piece = os.read(pipe.fileno(), 1 << 16)
        output += piece
        if not piece:
            return ProgramResult(output, process.wait())
    return ProgramResult(output[: limits.output_bytes], None)


def _readable(pipe: IO[bytes], end: float) -> bool:
    return bool(select([pipe], [], [], max(0.0, end - time.monotonic()))[0])


def _settings(limits: Limits, packages: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of a jail, as `main` in jail.py takes them."""
    uid = 20_000 + secrets.randbelow(40_000)  # the kernel counts threads per user id
    return {
        "parent": os.getpid(),
        "uid": uid,
        "new_user": not may_become(uid),
        "temp_bytes": limits.temp_bytes,
        "limits": {
            "AS": limits.memory_bytes,
            "CPU": limits.cpu_seconds,
            "FSIZE": limits.temp_bytes,
            "NOFILE": limits.open_files,
            "NPROC": limits.threads + 2,  # the processes of jail.py inside and outside
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        },
        "import_from": [FOLDER] if packages else [],
        **visible_files(packages),
    }


def may_become(uid: int, proc: Path = Path("/proc/self")) -> bool:
    """Return whether this process may change to a user id and a group id of this number.

    Root of a user namespace may not, if the namespace has no such ids.
    """
    maps = [(proc / name).read_text() for name in ("uid_map", "gid_map")]
    ranges = [[map(int, line.split()) for line in text.splitlines()] for text in maps]
    has_ids = all(any(first <= uid < first + n for first, _, n in lines) for lines in ranges)
    return os.geteuid() == 0 and has_ids and (proc / "setgroups").read_text().strip() == "allow"


def _jail_command(settings: dict[str, Any]) -> list[str]:
    # -S: no site packages; -P -s: no modules from the working folder or a home folder.
    return [PYTHON, "-S", "-P", "-s", "-X", "utf8", "-c", f"{JAIL_SOURCE}\nmain({settings!r})"]


def _advice() -> str:
    """Return a sentence on what an administrator can change so that programs can be isolated."""
    remedies = [
        remedy
        for setting, (value, remedy) in SETTINGS.items()
        if (path := Path("/proc/sys", setting)).exists() and path.read_text().strip() == value
    ]
    remedies.append("install bubblewrap (apt-get install bubblewrap)")
    remedies.append("in a container, start it with --security-opt seccomp=unconfined")
    return "any of these may help: " + "; ".join(remedies)
