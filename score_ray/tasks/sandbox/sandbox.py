"""Runs Python source that nobody trusts, on a machine that must not notice.

A sandbox is one bare Python process (standard library only) in Linux namespaces of its own: no
network, no other process, a read-only root of system libraries, an empty /tmp in memory, no
environment, no rights, few system calls, and limits on all it can use up. Of two ways to get
the namespaces bubblewrap is taken where it works, and else jail.py asks the kernel itself;
jail.py does the rest for both. Where neither works nothing is run.
"""

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from select import select
from typing import IO, Any

READY = b"ready"  # as in jail.py
START_SECONDS = 60.0  # on a machine that is very busy
KILLED = 128 + 9  # the exit code of a program that used up its CPU time
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
JAIL = Path(__file__).with_name("jail.py").read_text()
PYTHON = os.path.realpath(sys.executable)

# Settings that keep ordinary users from namespaces: the value that does, and the remedy.
SETTINGS = {
    "kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    "user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=10000"),
}


class IsolationError(ValueError):
    """A program could not be shut in, and so was not run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use up; more than that is refused to it, or ends it."""

    seconds: float = 6.0  # by the clock, from when it is shut in
    cpu_seconds: int = 6
    memory_bytes: int = 512 * 2**20
    temp_bytes: int = 16 * 2**20  # of /tmp, and so of a file
    output_bytes: int = 2**20
    threads: int = 16
    open_files: int = 64


@dataclass(frozen=True, slots=True)
class Ended:
    """What a program printed, and its exit code (128 + n after signal n).

    The code is None where it had to be killed: it ran too long or printed too much.
    """

    output: bytes
    code: int | None


Way = Callable[[dict[str, Any]], list[str]]  # from a job to the command that starts jail.py


def run(source: str, limits: Limits = Limits()) -> Ended:  # noqa: B008
    """Run a program until it ends or exceeds its limits; IsolationError if it cannot be shut in."""
    with sandboxed(source, limits, stdout=subprocess.PIPE) as process:
        await_start(process)
        assert process.stdout
        return _listen(process, process.stdout, limits)


@contextmanager
def sandboxed(
    source: str, limits: Limits, pass_fds: Sequence[int] = (), stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs while the block does; it finds `pass_fds` under the same numbers.

    Leaving the block kills it, and so does the kernel when the thread that entered it ends.
    """
    with _started(find_way(), source, limits, pass_fds, stdout) as process:
        yield process


def await_start(process: subprocess.Popen[bytes]) -> None:
    """Wait until the program is shut in; IsolationError if it never was, and so was not run."""
    assert process.stderr
    end, said = time.monotonic() + START_SECONDS, b""
    while not said.endswith(READY):
        piece = os.read(process.stderr.fileno(), 4096) if _readable(process.stderr, end) else b""
        if not piece:
            raise IsolationError(said.decode(errors="replace").strip() or "no sign of a start")
        said += piece


@cache
def find_way() -> Way:
    """The first way that isolates a program on this machine; IsolationError says what to do."""
    failures = []
    for way in (by_bubblewrap, by_kernel) if shutil.which("bwrap") else (by_kernel,):
        with _started(way, "", Limits(), (), subprocess.DEVNULL) as process:
            try:
                await_start(process)
                return way
            except IsolationError as error:
                failures.append(str(error).rpartition("\n")[2])
    raise IsolationError(f"programs cannot be isolated here ({'; '.join(failures)}); {_advice()}")


def by_bubblewrap(job: dict[str, Any]) -> list[str]:
    """Namespaces and root made by `bwrap`."""
    options = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    options += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if os.geteuid() == 0:  # jail.py exchanges root for a user id that owns nothing
        options += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        options += ["--unshare-user", "--uid", str(job["uid"]), "--gid", str(job["uid"])]
    for path in job["shown"]:
        for parent in reversed(Path(path).parents[:-1]):  # bwrap itself makes them private
            options += ["--perms", "0755", "--dir", str(parent)]
        options += ["--ro-bind", path, path]
    for path, target in job["links"].items():
        options += ["--symlink", target, path]
    for path in job["hidden"]:
        options += ["--tmpfs", path, "--remount-ro", path]
    options += ["--perms", "1777", "--size", str(job["temp_bytes"]), "--tmpfs", "/tmp"]
    options += ["--remount-ro", "/", "--chdir", "/tmp"]
    return [shutil.which("bwrap") or "bwrap", *options, *_python(job | {"make_namespaces": False})]


def by_kernel(job: dict[str, Any]) -> list[str]:
    """Namespaces and root made by jail.py."""
    return _python(job | {"make_namespaces": True})


@contextmanager
def _started(
    way: Way, source: str, limits: Limits, pass_fds: Sequence[int], stdout: int
) -> Iterator[subprocess.Popen[bytes]]:
    with (
        _sealed(source) as stdin,
        subprocess.Popen(
            way(_job(limits)),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PYTHONHASHSEED": "0"},  # the same order of sets every time, and nothing else
            pass_fds=pass_fds,
            start_new_session=True,  # no terminal
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _sealed(source: str) -> Iterator[int]:
    """The source as an open file in memory that nobody can write to."""
    with open(os.memfd_create("source", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
        file.write(source.encode(errors="surrogatepass"))
        file.seek(0)
        seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
        yield file.fileno()


def _listen(process: subprocess.Popen[bytes], pipe: IO[bytes], limits: Limits) -> Ended:
    end = time.monotonic() + limits.seconds
    output = b""
    while len(output) <= limits.output_bytes and _readable(pipe, end):
        piece = os.read(pipe.fileno(), 1 << 16)
        output += piece
        if not piece:
            return Ended(output, process.wait())
    return Ended(output[: limits.output_bytes], None)


def _readable(pipe: IO[bytes], end: float) -> bool:
    return bool(select([pipe], [], [], max(0.0, end - time.monotonic()))[0])


def _job(limits: Limits) -> dict[str, Any]:
    return {
        "parent": os.getpid(),
        "uid": 20_000 + secrets.randbelow(40_000),  # alone, so that its threads can be counted
        "temp_bytes": limits.temp_bytes,
        "limits": {
            "AS": limits.memory_bytes,
            "CPU": limits.cpu_seconds,
            "FSIZE": limits.temp_bytes,
            "NOFILE": limits.open_files,
            "NPROC": limits.threads + 2,  # jail.py inside, and outside
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        },
        **_view(),
    }


@cache
def _view() -> dict[str, Any]:
    """What a program can see: this Python's libraries and the system's, no installed package."""
    prefixes = {str(Path(PYTHON).parent.parent), sys.base_prefix}
    own = [f"{prefix}/{lib}" for prefix in prefixes for lib in {"lib", sys.platlibdir}]
    paths = [path for path in sorted({*LIBRARIES, *own}) if os.path.exists(path)]
    links = {path: os.readlink(path) for path in paths if os.path.islink(path)}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = [f"{path}/{version}/site-packages" for path in own]
    packages += ["/usr/lib/python3/dist-packages"]
    return {
        "shown": [path for path in paths if path not in links] + [PYTHON],
        "links": links,
        "hidden": [path for path in packages if os.path.isdir(path)],
    }


def _python(job: dict[str, Any]) -> list[str]:
    # -S: no site packages; -P -s: no module from the working or a home folder.
    return [PYTHON, "-S", "-P", "-s", "-X", "utf8", "-c", f"{JAIL}\nmain({job!r})"]


def _advice() -> str:
    remedies = [
        remedy
        for setting, (value, remedy) in SETTINGS.items()
        if (path := Path("/proc/sys", setting)).exists() and path.read_text().strip() == value
    ]
    remedies.append("install bubblewrap (apt-get install bubblewrap)")
    remedies.append("in a container, start it with --security-opt seccomp=unconfined")
    return "any of these may help: " + "; ".join(remedies)
