"""Grades many programs of all kinds, and shows what they leave behind; a command of its own.

unshare --pid --fork --mount-proc .venv/bin/python -m tests.tasks.sandbox.many_programs 10000
"""

import collections
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from score_ray.tasks.sandbox.program_tests import ProgramTests, check_program
from score_ray.tasks.sandbox.sandbox import Limits
from tests.tasks.sandbox.hostile_programs import HOSTILE

TESTS = ProgramTests("", ("assert f(3) == 9", "assert f(-4) == 16"))
RIGHT, WRONG = "def f(x): return x * x", "def f(x): return x"
LIMITS = Limits(seconds=2, cpu_seconds=1, memory_bytes=200 * 2**20, temp_bytes=2**20)
# Most programs of a model are right or wrong; one in twenty is hostile.
HOSTILE_EVERY = 20


def state() -> dict:
    """Return what this machine and this process hold."""
    return {
        "processes": sum(path.name.isdigit() for path in Path("/proc").iterdir()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "mounts": len(Path("/proc/self/mounts").read_text().splitlines()),
        "shared memory": len(os.listdir("/dev/shm")),
        "temporary files": len(os.listdir("/tmp")),
        "memory in MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def grade(number: int) -> str:
    """Return the verdict on program `number`."""
    hostile = list(HOSTILE.values())
    if number % HOSTILE_EVERY == 0:
        return str(check_program(hostile[number // HOSTILE_EVERY % len(hostile)], TESTS, LIMITS))
    return str(check_program(RIGHT if number % 2 else WRONG, TESTS, LIMITS))


def main(programs: int) -> None:
    """Grade so many programs, two at a time, and print the state before and after."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(grade, range(1, 9)))
        print("before", state(), flush=True)
        started, verdicts = time.monotonic(), collections.Counter()
        for start in range(0, programs, 1000):
            numbers = range(start, min(start + 1000, programs))
            verdicts.update(pool.map(grade, numbers))
            print(numbers.stop, f"{time.monotonic() - started:.0f} s", state(), flush=True)
        print("verdicts", dict(verdicts))
    print("after ", state())


if __name__ == "__main__":
    main(int(sys.argv[1]))
