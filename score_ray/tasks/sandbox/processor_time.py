"""Says how long processes ran, and how long they could have run on a less busy machine."""

import os
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # in a second
GROUP, USER, SYSTEM = 2, 11, 12  # places in /proc/PID/stat after the name of the program


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """Seconds that processes used a processor, and that their first threads waited for one."""

    used: float
    waited: float


def processor_time(groups: Set[int], proc: Path = Path("/proc")) -> ProcessorTime:
    """Return the time of all processes in these process groups; 0 where it cannot be read."""
    used = waited = 0.0
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[GROUP]) in groups:
                    used += (int(fields[USER]) + int(fields[SYSTEM])) / TICKS
                    waited += int((entry / "schedstat").read_text().split()[1]) / 1e9
            except (OSError, IndexError, ValueError):  # it has ended, or the kernel does not say
                continue
    return ProcessorTime(used, waited)
