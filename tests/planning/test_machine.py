"""The cores and the memory of a machine, within the limits of its container."""

import psutil
import pytest

from score_ray.planning import machine
from score_ray.planning.machine import this_machine, usable_memory


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max\n", None), ("1073741824\n", 2**30), ("9223372036854771712\n", None), ("0\n", None)],
)
def test_memory_is_that_of_the_machine_or_of_a_smaller_container(
    limit, expected, tmp_path, monkeypatch
):
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(machine, "MEMORY_LIMITS", (tmp_path / "memory.max", tmp_path / "none"))
    assert usable_memory() == (expected or psutil.virtual_memory().total)


def test_a_machine_is_described_as_ray_describes_a_node():
    assert this_machine() == {
        "CPU": float(machine.usable_cores()),
        "memory": float(usable_memory()),
    }
