"""Hostile programs against the sandbox: each tries to get out, and says so if it could."""

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from score_ray.tasks.sandbox import sandbox
from score_ray.tasks.sandbox.sandbox import IsolationError, Limits, by_bubblewrap, by_kernel, run

SMALL = Limits(seconds=5, cpu_seconds=3, memory_bytes=200 * 2**20, temp_bytes=2**20)
GREEDY_LIMITS = replace(SMALL, seconds=2)
WAYS = [by_kernel] + ([by_bubblewrap] if shutil.which("bwrap") else [])

TRY = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
FREE = {{"x86_64": 0, "aarch64": 1}}[os.uname().machine]
def call(x86, arm, *arguments):
    return libc.syscall((x86, arm)[FREE], *map(ctypes.c_long, arguments)) != -1
def works(function, *arguments):
    try:
        function(*arguments)
        return True
    except BaseException:
        return False
def attempt():
{body}
try:
    got = attempt()
except BaseException as error:
    got = False
print(f"escaped: {{got}}" if got else "held")
"""


@pytest.fixture(autouse=True, params=WAYS, ids=lambda way: way.__name__)
def way(request, monkeypatch):
    monkeypatch.setattr(sandbox, "find_way", lambda: request.param)


def held(body: str, limits: Limits = SMALL) -> bool:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return run(TRY.format(body=lines), limits).output == b"held\n"


ESCAPES = {
    "home folders": "return any(works(os.listdir, p) for p in ('/home', '/root/.ssh', '/work'))",
    "system files": "return any(os.path.exists(p) for p in ('/etc/passwd', '/etc/shadow', '/bin/sh', '/var'))",
    "environment": "return set(os.environ) - {'PYTHONHASHSEED', 'LC_CTYPE', 'PWD'}",
    "proc of its own": "return works(open, '/proc/self/mem', 'rb') or works(os.listdir, '/proc')",
    "environment of process 1": "return works(open, '/proc/1/environ', 'rb')",
    "open files of others": "return works(os.listdir, '/proc/1/fd')",
    "kernel settings": "return works(open, '/proc/sys/kernel/core_pattern', 'w') or os.path.exists('/sys')",
    "devices": "return os.path.exists('/dev') or works(os.mknod, 'disk', 0o60600, os.makedev(8, 0))",
    "inherited descriptors": "return [fd for fd in range(3, 2000) if works(os.fstat, fd)]",
    "source not sealed": "return works(os.write, 0, b'x') or works(os.ftruncate, 0, 2**20)",
    "write to the libraries": "return works(open, os.__file__, 'r+') or works(open, os.path.dirname(os.__file__) + '/x', 'w')",
    "write to the root": "return works(open, '/x', 'w') or works(os.mkdir, '/usr/x') or works(os.remove, '/lib')",
    "symbolic link": "return works(os.symlink, '/', 'root')",
    "hard link": "return works(os.link, os.__file__, 'os.py')",
    "out through dots": "return set(os.listdir('../../../..')) - {'etc', 'lib', 'lib64', 'root', 'tmp', 'usr', 'home', 'opt', 'nix'}",
    "packages": "import pytest; return True",
    "the project": "import score_ray; return True",
    "fork": "return works(os.fork)",
    "fork past the library": "return call(57, 9999) or call(58, 9999) or call(56, 220, 17, 0, 0, 0, 0)",
    "clone3": "return call(435, 435, ctypes.addressof(ctypes.create_string_buffer(88)), 88)",
    "process by clone with thread flags and more": "return call(56, 220, 0x3D0F00 | 0x10000000, 0, 0, 0, 0)",
    "another program": "os.execv(sys.executable, ['python', '-c', 'print(1)'])",
    "spawn": "import subprocess; return works(subprocess.run, [sys.executable, '-c', ''])",
    "multiprocessing": "import multiprocessing; return works(multiprocessing.Process(target=print).start)",
    "signal to process 1": "return works(os.kill, 1, 0) or works(os.kill, 1, 9)",
    "signal to all": "return works(os.kill, -1, 0) or works(os.killpg, 0, 0)",
    "signal to its parent": "return works(os.kill, os.getppid(), 0)",
    "signal to any process": "return any(works(os.kill, pid, 0) for pid in range(2, 5000))",
    "signal by descriptor": "return works(os.pidfd_open, 1)",
    "stop itself": "return works(os.kill, os.getpid(), 19)",
    "trace": "return call(101, 117, 0, 0, 0, 0) or call(101, 117, 16, 1, 0, 0)",
    "memory of others": "return call(310, 270, 1, 0, 0, 0, 0, 0) or call(311, 271, 1, 0, 0, 0, 0, 0)",
    "network": "return works(socket.socket)",
    "unix socket": "return works(socket.socket, socket.AF_UNIX)",
    "netlink": "return works(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW)",
    "bind a pair to a name": "return works(socket.socketpair()[0].bind, b'\\0name')",
    "send descriptors": "a, b = socket.socketpair(); return works(socket.send_fds, a, [b'x'], [0])",
    "mount": "return libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "unmount": "return libc.umount2(b'/tmp', 2) == 0",
    "root of its own": "return works(os.chroot, '/tmp') or call(155, 41, 0, 0)",
    "new user namespace": "return libc.unshare(0x10000000) == 0",
    "other namespaces": "return libc.setns(0, 0) == 0",
    "become root": "return works(os.setuid, 0) or works(os.setresuid, 0, 0, 0) or os.getuid() == 0",
    "set groups": "return works(os.setgroups, [0]) or works(os.setgid, 0)",
    "capabilities": "return call(126, 91, 0, 0)",
    "outlive its parent": "return libc.prctl(1, 0, 0, 0, 0) == 0",
    "control group memory": "return works(open, '/sys/fs/cgroup/memory.max', 'w')",
    "lift limits": "import resource; return any(works(resource.setrlimit, r, (-1, -1)) for r in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC))",
    "shared memory": "return call(29, 194, 0x1234, 4096, 0o1666) or call(68, 186, 0x1234, 0o1666)",
    "file in memory": "return works(os.memfd_create, 'x')",
    "watch files": "return call(253, 9999) or call(294, 26, 0)",
    "io_uring": "return call(425, 425, 8, ctypes.addressof(ctypes.create_string_buffer(120)))",
    "bpf and perf": "return call(321, 280, 0, 0, 0) or call(298, 241, 0, 0, -1, -1, 0)",
    "keys": "return call(250, 219, 0, -3, 1) or call(248, 217, 0, 0, 0, 0, -3)",
    "page faults": "return call(323, 282, 0)",
    "open by handle": "return call(304, 265, -100, 0, 0) or call(303, 264, -100, 0, 0, 0, 0)",
    "kernel modules": "return call(175, 105, 0, 0, 0) or call(246, 104, 0, 0, 0, 0)",
    "clock and name": "return call(227, 112, 0, 0) or works(socket.sethostname, 'mine')",
    "reboot": "return call(169, 142, 0xFEE1DEAD, 672274793, 0, 0)",
    "terminal": "return works(open, '/dev/tty') or call(16, 29, 0, 0x5412, 0)",
    "calls of the x32 table": "return FREE == 0 and call(0x40000000 + 57, 0)",
}


@pytest.mark.parametrize("attempt", ESCAPES)
def test_no_program_gets_out(attempt):
    assert held(ESCAPES[attempt])


def test_the_test_would_see_an_escape():
    assert not held("return True")
    assert run(TRY.format(body="    return call(39, 172)")).output == b"escaped: True\n"


def test_planted_secrets_are_out_of_sight_and_reach(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "planted")
    planted = tmp_path / "id_rsa"
    planted.write_text("planted")
    planted.chmod(0o666)
    tmp_path.chmod(0o777)
    places = f"({str(planted)!r}, '/proc/self/cwd/..' + {str(planted)!r})"
    assert held(f"return any(works(open, p) or works(os.remove, p) for p in {places})")
    assert held("import gc; return 'planted' in str(os.environ) + ''.join(sys.orig_argv)")
    assert held(f"return works(open, {str(planted)!r} + '2', 'w')")
    assert [p.name for p in tmp_path.iterdir()] == ["id_rsa"]
    assert planted.read_text() == "planted"


def test_listening_sockets_hear_nothing():
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(b"\0score_ray_test_%d" % os.getpid())
        unix.listen()
        port = tcp.getsockname()[1]
        name = unix.getsockname()
        assert held(f"return works(socket.create_connection, ('127.0.0.1', {port}))")
        assert held(f"return works(socket.socket(socket.AF_UNIX).connect, {name!r})")
        for server in (tcp, unix):
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="machine code of x86_64")
def test_the_32_bit_door_is_shut():
    code = "b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3'"  # mov eax, 20; int 0x80; ret
    source = f"""
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write({code})
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
print("escaped")
"""
    ended = run(source, SMALL)
    assert ended.output == b""
    assert ended.code in (128 + 31, 128 + 11)  # SIGSYS; SIGSEGV where the kernel has no such door


GREEDY = {
    "memory": "x = [0]\nwhile True: x += x",
    "one block of memory": "bytearray(2**34)",
    "mapped memory": "import mmap\nkept = []\nwhile True: kept.append(mmap.mmap(-1, 2**24))",
    "recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f() + 1\nf()",
    "recursion in C": "x = []\nfor _ in range(10**6): x = [x]\nimport sys\nsys.setrecursionlimit(10**9)\nhash(repr(x))",
    "a file": "f = open('x', 'wb')\nwhile True: f.write(bytes(2**16))",
    "many files": "n = 0\nwhile True:\n    n += 1\n    f = open(str(n), 'wb')\n    f.write(bytes(2**14))\n    f.close()",
    "descriptors": "import os\nwhile True: os.pipe()",
    "threads": "import threading, time\nthreading.stack_size(2**15)\nwhile True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "zip bomb": "import zlib\nx = zlib.compress(bytes(2**20))\nfor _ in range(9): x = b''.join([x] * 999)\n",
    "power": "print(len(str(10 ** 10 ** 10)))",
    "crash": "import ctypes\nctypes.string_at(0)",
    "abort": "import os\nos.abort()",
}


@pytest.mark.parametrize("greed", GREEDY)
def test_greedy_programs_end_before_the_machine_notices(greed):
    started = time.monotonic()
    assert run(GREEDY[greed], GREEDY_LIMITS).code != 0
    assert time.monotonic() - started < 30


def test_memory_beyond_the_limit_is_refused():
    source = """
for size in (50, 400):
    try:
        bytearray(size * 2**20)
    except MemoryError:
        print(size)
"""
    assert run(source, SMALL).output == b"400\n"


def test_what_is_shown_is_read_only_and_shows_no_packages():
    source = f"""
import errno, os
for path in ("/x", "/tmp/../x", os.path.dirname(os.__file__) + "/x"):
    try:
        open(path, "w")
    except OSError as error:
        print(error.errno == errno.EROFS)
print([os.listdir(path) for path in {sandbox._view()["hidden"]} if os.listdir(path)])
"""
    assert run(source).output == b"True\nTrue\nTrue\n[]\n"
    assert sandbox._view()["hidden"]


def test_an_inheritable_file_of_the_grader_is_not_inherited(tmp_path):
    with open(tmp_path / "planted", "w") as planted:
        os.set_inheritable(planted.fileno(), True)
        assert held(ESCAPES["inherited descriptors"])


def test_temporary_room_is_limited_in_bytes():
    source = """
import os
written = 0
try:
    for n in range(99):
        with open(str(n), "wb", 0) as file:
            for _ in range(4):
                written += file.write(bytes(2**14))
except OSError:
    print(written <= 2**20, len(os.listdir(".")) > 0)
"""
    assert run(source, SMALL).output == b"True True\n"


def test_open_files_are_limited_in_number():
    source = """
import os
try:
    for n in range(1000):
        os.dup(0)
except OSError:
    print(n)
"""
    assert run(source, Limits(open_files=20)).output == b"17\n"


def test_threads_are_limited_in_number():
    source = """
import threading, time
try:
    for n in range(100):
        threading.Thread(target=time.sleep, args=(0.3,)).start()
except RuntimeError:
    print(n)
"""
    assert 4 <= int(run(source, Limits(threads=4)).output) <= 6


@pytest.mark.parametrize("source", ["while True: pass", "import time; time.sleep(60)", "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\nwhile True: pass"])  # fmt: skip
def test_a_program_that_does_not_end_is_killed(source):
    assert run(source, Limits(seconds=0.5)).code is None


def test_busy_threads_use_up_their_processor_time():
    source = """
import hashlib, threading
def work():
    while True: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**5)
for _ in range(8): threading.Thread(target=work).start()
"""
    assert run(source, Limits(seconds=60, cpu_seconds=1)).code == sandbox.KILLED


def test_output_without_end_is_cut():
    started = time.monotonic()
    ended = run("while True: print('x' * 999)", Limits(seconds=60, output_bytes=5000))
    assert (len(ended.output), ended.code) == (5000, None)
    assert time.monotonic() - started < 50


def test_stdout_is_read_and_stderr_is_with_it():
    ended = run("import sys\nprint(1, flush=True)\nprint(2, file=sys.stderr)\nsys.exit(3)")
    assert ended == sandbox.Ended(b"1\n2\n", 3)


def test_what_an_ordinary_program_needs_is_there():
    source = """
import asyncio, concurrent.futures, datetime, decimal, hashlib, os, random, tempfile, threading
async def wait(): await asyncio.sleep(0.001)
asyncio.run(wait())
with concurrent.futures.ThreadPoolExecutor(4) as pool: assert sum(pool.map(abs, [-1, 2])) == 3
with tempfile.NamedTemporaryFile("w+") as file: file.write("x")
with tempfile.TemporaryDirectory() as folder: open(folder + "/x", "w").close()
with open("a", "w") as file: file.write("x")
os.rename("a", "b"), os.remove("b")
random.random(), os.urandom(1), datetime.datetime.now()
import bisect, calendar, cmath, collections, copy, csv, ctypes, functools, heapq, itertools, json
import math, re, sqlite3, statistics, string, textwrap, typing, unicodedata, zlib
print("fine", os.getcwd(), os.listdir())
"""
    assert run(source).output == b"fine /tmp []\n"


def test_sets_come_in_the_same_order_every_time():
    outputs = {run("print(set('abcdefgh'))").output for _ in range(3)}
    assert len(outputs) == 1


def processes_of(pid: int) -> list[int]:
    """The processes of sandboxes that process `pid` started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if f"'parent': {pid}," in " ".join(process.info["cmdline"] or []):
            found.append(process.pid)
    return found


def nothing_left_of(pid: int) -> bool:
    """Whether they are gone; the kernel takes a moment to kill."""
    end = time.monotonic() + 10
    while processes_of(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not processes_of(pid)


def test_neither_processes_nor_files_outlive_a_program():
    name = f"left_{os.getpid()}"
    source = f"import time\nopen({name!r}, 'w').write('x')\ntime.sleep(60)"
    assert run(source, Limits(seconds=0.3)).code is None
    assert nothing_left_of(os.getpid())
    assert not list(Path("/tmp").glob(name))


def test_a_program_dies_with_the_grader_that_started_it():
    source = (
        "from score_ray.tasks.sandbox import sandbox\n"
        f"sandbox.find_way = lambda: sandbox.{sandbox.find_way().__name__}\n"
        "with sandbox.sandboxed('while True: pass', sandbox.Limits(seconds=60)) as process:\n"
        "    sandbox.await_start(process)\n"
        "    print('started', flush=True)\n"
        "    process.wait()\n"
    )
    grader = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert grader.stdout
    assert grader.stdout.readline() == b"started\n"
    assert processes_of(grader.pid)
    grader.kill()
    grader.communicate()
    assert nothing_left_of(grader.pid)


def test_a_machine_that_cannot_isolate_is_told_what_to_do(monkeypatch):
    refusing = ["sh", "-c", "echo 'unshare: not permitted' >&2"]
    monkeypatch.undo()
    monkeypatch.setattr(sandbox, "by_kernel", lambda job: refusing)
    monkeypatch.setattr(sandbox, "by_bubblewrap", lambda job: refusing)
    with pytest.raises(IsolationError, match="unshare: not permitted.*install bubblewrap"):
        sandbox.find_way.__wrapped__()


def test_a_sandbox_that_does_not_start_is_no_run(monkeypatch):
    monkeypatch.setattr(sandbox, "find_way", lambda: lambda job: ["true"])
    with pytest.raises(IsolationError, match="no sign of a start"):
        run("print(1)")


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests are that user's")
def test_an_ordinary_user_is_isolated_too(monkeypatch):
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or "none"
    code = (
        "import sys; from score_ray.tasks.sandbox.sandbox import run; print(run('print(7)').output)"
    )
    try:
        done = subprocess.run(
            [python, "-c", code], user=65534, group=65534, extra_groups=[], capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("no Python that every user can run")
    if b"ImportError" in done.stderr or b"ModuleNotFoundError" in done.stderr:
        pytest.skip("that user cannot read this project or has an older Python")
    assert done.stdout == b"b'7\\n'\n", done.stderr
