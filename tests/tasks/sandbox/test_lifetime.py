"""Sandboxes are started where process 1 collects no orphans; nothing of them may be left."""

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
ISOLATIONS = ["KERNEL"] + (["BUBBLEWRAP"] if shutil.which("bwrap") else [])
ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
COUNT = """
import os
from pathlib import Path
from score_ray.tasks.sandbox import sandbox
from score_ray.tasks.sandbox.lifetime import adopting_orphans
from score_ray.tasks.sandbox.program_tests import ProgramTests, check_program
sandbox.find_isolation = lambda: sandbox.{isolation}
def state():
    processes = sum(path.name.isdigit() for path in Path("/proc").iterdir())
    mounts = len(Path("/proc/self/mounts").read_text().splitlines())
    return processes, len(os.listdir("/proc/self/fd")), mounts, os.listdir("/dev/shm")
def grade(program):
    limits = sandbox.Limits(seconds=0.7, cpu_seconds=1)
    check_program(program, ProgramTests("", ("assert f(2) == 4",)), limits)
def killed():
    with sandbox.sandboxed("while True: pass", sandbox.Limits()) as process:
        sandbox.await_start(process)
        process.kill()
"""
PROGRAMS = {
    "right": "def f(x): return x * x",
    "endless": "def f(x):\n    while True: pass",
    "sleeping": "import time\ntime.sleep(60)",
    "crashing": "import ctypes\nctypes.string_at(0)",
    "forking": "import os\nos.fork()",
    "a daemon": "import os\nif not os.fork(): os.setsid()\nif not os.fork(): os._exit(0)",
    "threads": "import threading, time\nfor n in range(9): threading.Thread(target=time.sleep, args=(9,)).start()",
    "greedy": "x = [0]\nwhile True: x += x",
}  # fmt: skip


def alone(isolation: str, body: str) -> str:
    """Return what a Python prints that is process 1 of a namespace."""
    source = COUNT.replace("{isolation}", isolation) + body
    done = subprocess.run([*ALONE, sys.executable, "-c", source], capture_output=True, text=True)
    if "unshare:" in done.stderr:
        pytest.skip("this machine gives no namespace of processes")
    assert not done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_no_process_descriptor_or_mount_is_left_by_any_kind_of_program(isolation):
    body = f"""
grade("def f(x): return 0")
before = state()
for program in {list(PROGRAMS.values())!r}: grade(program)
print(state() == before, before[0], state())
"""
    assert alone(isolation, body).startswith("True 1 ")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_is_left_where_somebody_else_kills_the_first_process_of_a_sandbox(isolation):
    assert alone(isolation, "killed(); killed(); print(state()[0])") == "1"


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_is_left_where_several_threads_grade_at_once(isolation):
    body = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(3) as pool: list(pool.map(grade, ["def f(x): return 1"] * 9))
print(state()[0])
"""
    assert alone(isolation, body) == "1"


def test_orphans_are_adopted_only_while_a_sandbox_runs():
    body = """
def adopted():
    read, write = os.pipe()
    if not (child := os.fork()):
        if not os.fork():
            os.close(read)
            import time
            while os.getppid() == mine: time.sleep(0.01)
            time.sleep(0.1)
            os.write(write, str(os.getppid()).encode())
            os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(read, 9)) == os.getpid()
"""
    middle = """
mine = -1
if not (child := os.fork()):
    inside = outside = None
    with adopting_orphans():
        with adopting_orphans(): pass
        inside = adopted()
    outside = adopted()
    print(inside, outside, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    assert alone("KERNEL", body + middle) == "True False"


def test_an_orphan_that_nobody_collects_is_counted():
    body = """
import subprocess
before = state()[0]
subprocess.run(["sh", "-c", "sleep 0.1 & exit"])
import time
time.sleep(0.3)
print(state()[0] - before)
"""
    assert alone("KERNEL", body) == "1"
