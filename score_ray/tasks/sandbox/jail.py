"""The code that runs inside a sandbox: it isolates its own process, then runs the program.

sandbox.py passes the text of this file and a call of `main` to `python -c`, in a bare
interpreter with an empty environment. The program comes on stdin. This file imports little,
because every sandbox waits for its imports. The order of the steps matters: namespaces, root,
fork, no rights, limits, system calls, and only then the program. Nothing here is secret: the
program can read all of it.
"""

import ctypes
import os
import resource
import select
import struct
import sys

READY = b"ready"  # the only thing written to stderr if the isolation succeeds

# The system calls that a Python program needs to compute, to keep files of its own and to wait:
# name, number on x86_64, number on aarch64. No call listed here makes a process, starts another
# program, sends a signal, traces, mounts, connects a socket to anything, changes rights or uses
# the kernel's newer interfaces (io_uring, bpf, keys, userfaultfd). A call that is not listed
# fails with ENOSYS; libraries take that for an older kernel and work around it.
SYSTEM_CALLS = """
    read 0 63, write 1 64, close 3 57, stat 4 -, fstat 5 80, lstat 6 -, poll 7 -, lseek 8 62,
    mmap 9 222, mprotect 10 226, munmap 11 215, brk 12 214, rt_sigaction 13 134,
    rt_sigprocmask 14 135, rt_sigreturn 15 139, pread64 17 67, pwrite64 18 68, readv 19 65,
    writev 20 66, access 21 -, select 23 -, sched_yield 24 124, mremap 25 216, madvise 28 233,
    dup 32 23, dup2 33 -, nanosleep 35 101, getitimer 36 102, alarm 37 -, setitimer 38 103,
    getpid 39 172, sendto 44 206, recvfrom 45 207, getsockname 51 204, socketpair 53 199,
    exit 60 93, uname 63 160, fcntl 72 25, fsync 74 82, ftruncate 77 46, getcwd 79 17,
    chdir 80 49, rename 82 -, mkdir 83 -, rmdir 84 -, unlink 87 -, readlink 89 -, umask 95 166,
    gettimeofday 96 169, getrlimit 97 163, getrusage 98 165, sysinfo 99 179, times 100 153,
    getuid 102 174, getgid 104 176, geteuid 107 175, getegid 108 177, getppid 110 173,
    sigaltstack 131 132, gettid 186 178, time 201 -, futex 202 98, sched_getaffinity 204 123,
    getdents64 217 61, set_tid_address 218 96, restart_syscall 219 128, clock_gettime 228 113,
    clock_getres 229 114, clock_nanosleep 230 115, exit_group 231 94, epoll_wait 232 -,
    epoll_ctl 233 21, openat 257 56, mkdirat 258 34, newfstatat 262 79, unlinkat 263 35,
    renameat 264 38, readlinkat 267 78, faccessat 269 48, pselect6 270 72, ppoll 271 73,
    set_robust_list 273 99, epoll_pwait 281 22, eventfd2 290 19, epoll_create1 291 20,
    dup3 292 24, pipe2 293 59, prlimit64 302 261, renameat2 316 276, getrandom 318 278,
    statx 332 291, rseq 334 293, faccessat2 439 439
"""
MACHINES = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}  # column in SYSTEM_CALLS, id
# Calls that are allowed for some values of one argument: the call, the argument, the values.
LIMITED_CALLS = (
    ("clone 56 220", 0, (0x3D0F00,)),  # these flags start a thread; others start a process
    ("ioctl 16 29", 1, (0x5421, 0x5451)),  # FIONBIO (blocking or not), FIOCLEX (not inherited)
)

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
# Namespaces of cgroups, host name, IPC, processes and network.
CLONE_OTHERS = 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MOUNT_READ_ONLY_NOSUID_NODEV, AT_FDCWD, AT_RECURSIVE, MNT_DETACH = 1 | 2 | 4, -100, 0x8000, 2
SYS_PIVOT_ROOT, SYS_MOUNT_SETATTR = {"x86_64": 155, "aarch64": 41}, 442
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SIGKILL = 1, 22, 38, 9
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ROOT = "/proc"  # the new root is built here: every machine has this folder, and we do not need it

_libc = ctypes.CDLL(None, use_errno=True)


def main(settings: dict) -> None:
    """Isolate this process as the settings say, then run the program that stdin holds."""
    if settings["make_namespaces"]:
        enter_jail(settings)
    else:  # bubblewrap made the namespaces, and ends this process with its parent
        drop_rights(settings["uid"])
    for name, most in settings["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    allow_system_calls(os.uname().machine)
    os.write(2, READY)
    os.dup2(1, 2)  # until now stderr carried the errors of this file
    if settings["import_from"]:
        sys.path += settings["import_from"]
        # One thread for each library of numbers: they would use up the limit of threads.
        os.environ |= dict.fromkeys(THREADS, "1")
    source = sys.stdin.buffer.read()
    exec(compile(source, "program", "exec", dont_inherit=True), {"__name__": "__main__"})


def enter_jail(settings: dict) -> None:
    """Make the namespaces and the root, give up all rights, and end with the parent process."""
    _die_with_parent()
    if os.getppid() != settings["parent"]:
        sys.exit("the process that started this sandbox has ended")
    enter_namespaces(settings["uid"], settings["new_user"])
    make_root(settings)
    alive = fork_inside()
    drop_rights(settings["uid"])
    _die_with_parent()  # set after the change of user id, because that clears it
    _exit_if_closed(alive)


def enter_namespaces(uid: int, new_user: bool) -> None:
    """Enter new namespaces of mounts, processes, network, IPC, host name and cgroups.

    With `new_user`, or without the right to do so, also enter a new user namespace, in which
    this process has the id `uid`.
    """
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", CLONE_NEWNS | CLONE_OTHERS | (CLONE_NEWUSER if new_user else 0))
    except PermissionError:
        if new_user:
            raise
        new_user = True
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_OTHERS)
    if new_user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
        _write("/proc/self/gid_map", f"{uid} {outer_gid} 1")


def make_root(settings: dict) -> None:
    """Replace the root by a read-only one that holds the shown paths and an empty /tmp."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)  # later mounts are invisible outside
    _mount("tmpfs", ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    _add_paths(settings)
    os.mkdir(ROOT + "/tmp")
    attributes = struct.pack("4Q", MOUNT_READ_ONLY_NOSUID_NODEV, 0, 0, 0)
    _syscall(SYS_MOUNT_SETATTR, AT_FDCWD, ROOT.encode(), AT_RECURSIVE, attributes, len(attributes))
    # The temporary folder is in memory: it vanishes with its last process, also after a kill.
    options = f"size={settings['temp_bytes']},nr_inodes=1000,mode=1777"
    _mount("tmpfs", ROOT + "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    os.chdir(ROOT)
    _syscall(SYS_PIVOT_ROOT[os.uname().machine], b".", b".")
    _call("umount2", b".", MNT_DETACH)  # the old root
    os.chdir("/tmp")


def _add_paths(settings: dict) -> None:
    """Bind the shown paths into the new root, make its links, and cover its hidden folders."""
    for path, place in settings["shown"].items():
        _make_mount_point(path, ROOT + place)
        _mount(path, ROOT + place, None, MS_BIND | MS_REC)
    for path, target in settings["links"].items():
        os.makedirs(os.path.dirname(ROOT + path), exist_ok=True)
        os.symlink(target, ROOT + path)
    for path in settings["hidden"]:
        _mount("tmpfs", ROOT + path, "tmpfs", MS_NOSUID | MS_NODEV, "size=4k,mode=755")


def fork_inside() -> int:
    """Continue as process 1 of the new namespace; return a pipe that its parent holds open.

    The pipe closes if the parent dies. The parent waits for process 1 and exits with its code.
    """
    alive, held_open = os.pipe()
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(code if code >= 0 else 128 - code)
    os.close(held_open)
    return alive


def drop_rights(uid: int) -> None:
    """Give up every capability and the way to get one; root becomes a user that owns nothing."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _call("capset", struct.pack("Ii", 0x20080522, 0), bytes(24))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def allow_system_calls(machine: str) -> None:
    """Refuse all system calls but the listed ones, to this process and all its threads."""
    if machine not in MACHINES:
        sys.exit(f"no list of system calls for {machine}, only for {', '.join(MACHINES)}")
    steps = filter_steps(*MACHINES[machine])
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    _call("prctl", PR_SET_SECCOMP, 2, struct.pack("HP", len(steps), ctypes.addressof(code)), 0, 0)


def filter_steps(column: int, architecture: int) -> list[tuple[int, int, int, int]]:
    """Return the seccomp filter, a BPF program: (code, jump if equal, jump if not, value)."""
    load, equal, answer = 0x20, 0x15, 0x06
    allow, no_such_call, kill = 0x7FFF0000, 0x00050000 | 38, 0x80000000
    steps = [(load, 0, 0, 4), (equal, 1, 0, architecture), (answer, 0, 0, kill), (load, 0, 0, 0)]
    for number in (call.split()[column] for call in SYSTEM_CALLS.split(",")):
        if number != "-":
            steps += [(equal, 0, 1, int(number)), (answer, 0, 0, allow)]
    for call, argument, values in LIMITED_CALLS:
        after = 2 + 2 * len(values)
        steps += [(equal, 0, after, int(call.split()[column])), (load, 0, 0, 16 + 8 * argument)]
        for value in values:
            steps += [(equal, 0, 1, value), (answer, 0, 0, allow)]
        steps.append((answer, 0, 0, no_such_call))
    return [*steps, (answer, 0, 0, no_such_call)]


def _die_with_parent() -> None:
    _call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def _exit_if_closed(pipe: int) -> None:
    """Exit if the other end of the pipe is closed: the parent died before `_die_with_parent`."""
    if select.select([pipe], [], [], 0)[0]:
        os._exit(1)
    os.close(pipe)


def _make_mount_point(path: str, place: str) -> None:
    """Make an empty folder, or an empty file, in the new root to mount `path` on."""
    if os.path.isdir(path):
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        _write(place, "")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = [text.encode() if text is not None else None for text in (source, target, kind)]
    _check(f"mount {target}", _libc.mount(*encoded, ctypes.c_ulong(flags), data.encode()))


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library."""
    wide = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    _check(name, getattr(_libc, name)(*wide))


def _syscall(number: int, *arguments: object) -> None:
    wide = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in (number, *arguments)]
    _check(f"system call {number}", _libc.syscall(*wide))


def _check(name: str, result: int) -> None:
    """Raise OSError if the call of this name failed."""
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
