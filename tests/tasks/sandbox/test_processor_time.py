import os
import subprocess
import sys
import time

import pytest

from score_ray.tasks.sandbox.processor_time import TICKS, ProcessorTime, processor_time


def test_the_processes_of_the_groups_are_added_up(tmp_path):
    for pid, group, ticks, waited in (
        (1, 1, 500, 9),
        (20, 7, 3 * TICKS, 2),
        (21, 7, TICKS, 1),
        (30, 8, TICKS // 2, 0),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        fields = f"R 1 {group} 0 0 -1 0 0 0 0 0 {ticks} {ticks} 0 0 20 0 1"
        (folder / "stat").write_text(f"{pid} (a (b) c) {fields}\n")
        (folder / "schedstat").write_text(f"123 {waited * 10**9} 5\n")
    assert processor_time({7, 8}, tmp_path) == ProcessorTime(used=9.0, waited=3.0)
    assert processor_time({99}, tmp_path) == ProcessorTime(0.0, 0.0)


def test_a_kernel_that_does_not_say_how_long_processes_waited_is_no_error(tmp_path):
    (tmp_path / "20").mkdir()
    (tmp_path / "20/stat").write_text(f"20 (x) R 1 7 0 0 -1 0 0 0 0 0 {TICKS} 0 0 0 20 0 1\n")
    assert processor_time({7}, tmp_path) == ProcessorTime(1.0, 0.0)


@pytest.mark.slow
def test_a_busy_process_uses_time_and_a_sleeping_one_does_not():
    busy, idle = "while True: pass", "import time\ntime.sleep(60)"
    processes = [
        subprocess.Popen([sys.executable, "-c", source], start_new_session=True)
        for source in (busy, idle)
    ]
    try:
        end = time.monotonic() + 30
        while processor_time({processes[0].pid}).used < 0.3:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert processor_time({processes[1].pid}).used < 0.3
        assert processor_time({os.getpgrp()}).used > 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
