"""Hostile programs try to get out of the sandbox, and print whether they could."""

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
from score_ray.tasks.sandbox.sandbox import (
    BUBBLEWRAP,
    KERNEL,
    Isolation,
    IsolationError,
    Limits,
    run,
)
from score_ray.tasks.sandbox.visible_files import visible_files
from tests.tasks.sandbox.escape_attempts import ESCAPES, GREEDY, TRY

pytestmark = pytest.mark.slow
SMALL = Limits(seconds=5, cpu_seconds=3, memory_bytes=200 * 2**20, temp_bytes=2**20)
GREEDY_LIMITS = replace(SMALL, seconds=2)
ISOLATIONS = [KERNEL] + ([BUBBLEWRAP] if shutil.which("bwrap") else [])


@pytest.fixture(autouse=True, params=ISOLATIONS, ids=lambda isolation: isolation.name)
def isolation(request, monkeypatch):
    monkeypatch.setattr(sandbox, "find_isolation", lambda: request.param)


def held(body: str, limits: Limits = SMALL) -> bool:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return run(TRY.format(body=lines), limits).output == b"held\n"


@pytest.mark.parametrize("attempt", ESCAPES)
def test_a_program_does_not_get_out(attempt):
    assert held(ESCAPES[attempt])


def test_an_escape_would_be_noticed():
    assert not held("return True")
    assert run(TRY.format(body="    return call(39, 172)")).output == b"escaped: True\n"


def test_secrets_in_files_and_environment_cannot_be_read_or_changed(tmp_path, monkeypatch):
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


def test_a_program_cannot_connect_to_listening_sockets():
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
def test_32_bit_system_calls_are_refused():
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
    assert ended.exit_code in (
        128 + 31,
        128 + 11,
    )  # SIGSYS; SIGSEGV if the kernel has no 32-bit calls


@pytest.mark.parametrize("greed", GREEDY)
def test_greedy_programs_end_by_themselves_or_are_killed(greed):
    started = time.monotonic()
    assert run(GREEDY[greed], GREEDY_LIMITS).exit_code != 0
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


def test_visible_files_are_read_only_and_without_packages():
    source = f"""
import errno, os
for path in ("/x", "/tmp/../x", os.path.dirname(os.__file__) + "/x"):
    try:
        open(path, "w")
    except OSError as error:
        print(error.errno == errno.EROFS)
print([os.listdir(path) for path in {visible_files(())["hidden"]} if os.listdir(path)])
"""
    assert run(source).output == b"True\nTrue\nTrue\n[]\n"
    assert visible_files(())["hidden"]


def test_an_inheritable_file_of_the_grader_is_not_inherited(tmp_path):
    with open(tmp_path / "planted", "w") as planted:
        os.set_inheritable(planted.fileno(), True)
        assert held(ESCAPES["inherited descriptors"])


def test_temporary_files_are_limited_in_bytes():
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
    assert run(source, Limits(seconds=0.5)).exit_code is None


def test_busy_threads_are_killed_after_their_cpu_time():
    source = """
import hashlib, threading
def work():
    while True: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**5)
for _ in range(8): threading.Thread(target=work).start()
"""
    assert run(source, Limits(seconds=60, cpu_seconds=1)).exit_code == sandbox.KILLED


def test_endless_output_is_cut_and_the_program_killed():
    started = time.monotonic()
    ended = run("while True: print('x' * 999)", Limits(seconds=60, output_bytes=5000))
    assert (len(ended.output), ended.exit_code) == (5000, None)
    assert time.monotonic() - started < 50


def test_the_output_is_stdout_and_stderr():
    ended = run("import sys\nprint(1, flush=True)\nprint(2, file=sys.stderr)\nsys.exit(3)")
    assert ended == sandbox.ProgramResult(b"1\n2\n", 3)


def test_ordinary_programs_find_what_they_need():
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


def test_sets_have_the_same_order_in_every_run():
    outputs = {run("print(set('abcdefgh'))").output for _ in range(3)}
    assert len(outputs) == 1


def processes_of(pid: int) -> list[int]:
    """Return the processes of the sandboxes that process `pid` started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if f"'parent': {pid}," in " ".join(process.info["cmdline"] or []):
            found.append(process.pid)
    return found


def nothing_left_of(pid: int) -> bool:
    """Wait until they are gone, since killing takes a moment; return whether they are."""
    end = time.monotonic() + 10
    while processes_of(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not processes_of(pid)


def test_no_process_and_no_file_of_a_program_is_left():
    name = f"left_{os.getpid()}"
    source = f"import time\nopen({name!r}, 'w').write('x')\ntime.sleep(60)"
    assert run(source, Limits(seconds=0.3)).exit_code is None
    assert nothing_left_of(os.getpid())
    assert not list(Path("/tmp").glob(name))


def test_a_program_dies_with_the_grader_that_started_it():
    source = (
        "from score_ray.tasks.sandbox import sandbox\n"
        f"sandbox.find_isolation = lambda: sandbox.{sandbox.find_isolation().name.upper()}\n"
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


def test_an_error_says_what_to_do_where_programs_cannot_be_isolated(monkeypatch):
    refusing = ["sh", "-c", "echo 'unshare: not permitted' >&2"]
    monkeypatch.undo()
    monkeypatch.setattr(sandbox, "KERNEL", Isolation("kernel", lambda settings: refusing))
    monkeypatch.setattr(sandbox, "BUBBLEWRAP", Isolation("bubblewrap", lambda settings: refusing))
    with pytest.raises(IsolationError, match="unshare: not permitted.*install bubblewrap"):
        sandbox.find_isolation.__wrapped__()


def test_a_sandbox_that_does_not_start_is_an_error(monkeypatch):
    silent = Isolation("silent", lambda settings: ["true"])
    monkeypatch.setattr(sandbox, "find_isolation", lambda: silent)
    with pytest.raises(IsolationError, match="the sandbox did not start"):
        run("print(1)")


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user")
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
