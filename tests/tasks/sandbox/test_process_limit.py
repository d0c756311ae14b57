import os
import resource
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from score_ray.tasks.sandbox import program_tests, sandbox
from score_ray.tasks.sandbox.process_limit import ProcessLimit, tightest_limit
from score_ray.tasks.sandbox.program_tests import ProgramTests, check_program
from score_ray.types import Verdict

TESTS = ProgramTests("", ("assert f(1) == 2",))
RIGHT = "def f(x): return x + 1"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 3 processes of 5 threads in all, and no limit but the kernel's."""
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: infinite)
    for process, threads in {"1": "1", "20": "20 21 22", "30": "30"}.items():
        for thread in threads.split():
            write(tmp_path / f"proc/{process}/task/{thread}/stat", "")
    write(tmp_path / "proc/sys/kernel/pid_max", "32768\n")
    write(tmp_path / "proc/sys/kernel/threads-max", "9000\n")
    return tmp_path


def limit_of(machine: Path) -> str:
    return str(tightest_limit(machine / "cgroup", machine / "proc")).replace(f"{machine}/", "")


def test_the_kernels_limits_count_all_threads(machine):
    assert limit_of(machine) == (
        "the limit of processes is 9000 (sysctl kernel.threads-max), and 5 are in use"
    )


def test_the_limit_of_a_container_is_found_in_both_versions_of_control_groups(machine):
    write(machine / "proc/self/cgroup", "0::/\n")
    write(machine / "cgroup/pids.max", "150\n")
    write(machine / "cgroup/pids.current", "149\n")
    assert limit_of(machine) == (
        "the limit of processes is 150 (cgroup/pids.max), and 149 are in use"
    )
    write(machine / "proc/self/cgroup", "3:cpu:/\n7:pids:/docker/abc\n")
    write(machine / "cgroup/pids/docker/abc/pids.max", "max\n")
    write(machine / "cgroup/pids/docker/abc/pids.current", "40\n")
    write(machine / "cgroup/pids/docker/pids.max", "64\n")
    write(machine / "cgroup/pids/docker/pids.current", "60\n")
    assert limit_of(machine) == (
        "the limit of processes is 64 (cgroup/pids/docker/pids.max), and 60 are in use"
    )


def test_the_limit_of_a_user_counts_the_users_processes(machine, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (6, 6))
    assert limit_of(machine) == "the limit of processes is 6 (ulimit -u), and 5 are in use"


def test_a_machine_without_readable_limits_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert tightest_limit(tmp_path, tmp_path) is None


def shortage(monkeypatch, times: int) -> list[float]:
    """Let the first starts of a sandbox fail for want of processes; return the pauses made."""
    real, pauses, left = subprocess.Popen, [], [times]

    def popen(*arguments, **options):
        if left[0]:
            left[0] -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(program_tests.time, "sleep", pauses.append)
    monkeypatch.setattr(sandbox, "find_isolation", lambda: sandbox.KERNEL)
    return pauses


@pytest.mark.slow
def test_a_worker_recovers_from_a_shortage_of_processes(monkeypatch):
    pauses = shortage(monkeypatch, 3)
    assert check_program(RIGHT, TESTS) is Verdict.CORRECT
    assert pauses == [0.1, 0.4, 1.5]


def test_a_shortage_that_lasts_is_named(monkeypatch):
    pauses = shortage(monkeypatch, 99)
    monkeypatch.setattr(sandbox, "tightest_limit", lambda: ProcessLimit(150, 149, "pids.max"))
    with pytest.raises(
        sandbox.ProcessShortageError,
        match=r"the limit of processes is 150 \(pids.max\), and 149 are in use; raise it",
    ):
        check_program(RIGHT, TESTS)
    assert pauses == [0.1, 0.4, 1.5, 3.0]


@contextmanager
def few_processes(most: int):
    """Put this process into a control group with a limit of processes while the block runs."""
    group = Path("/sys/fs/cgroup/pids", f"score_ray_{os.getpid()}")
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(most))
        before = next(
            line.split(":", 2)[2]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if ":pids:" in line
        )
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except (OSError, StopIteration):
        pytest.skip("this machine gives no control group of processes")
    try:
        yield group
    finally:
        Path("/sys/fs/cgroup/pids" + before, "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


@pytest.mark.slow
def test_a_real_shortage_is_named_and_over_when_there_is_room_again(monkeypatch):
    monkeypatch.setattr(sandbox, "find_isolation", lambda: sandbox.KERNEL)
    monkeypatch.setattr(program_tests, "PAUSES", (0.1,))
    with few_processes(2000) as group:
        own = int((group / "pids.current").read_text())
        for room in (0, 1, 2, 3):
            (group / "pids.max").write_text(str(own + room))
            with pytest.raises(sandbox.ProcessShortageError, match=f"processes is {own + room} "):
                check_program(RIGHT, TESTS)
        (group / "pids.max").write_text(str(own + 4))
        assert check_program(RIGHT, TESTS) is Verdict.CORRECT
        assert int((group / "pids.current").read_text()) == own
