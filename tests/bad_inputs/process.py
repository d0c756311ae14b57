"""Runs the command of a bad input as a process, and says what was not as expected."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import psutil

from tests.bad_inputs.case import Case
from tests.bad_inputs.forked import run_forked
from tests.bad_inputs.inputs import usual

PROGRAM = str(Path(sys.executable).with_name("score-ray"))
MARK = "SCORE_RAY_BAD_INPUT"  # an environment variable that all processes of a case have
NOISE = ("Traceback (most recent call last)", "Exception ignored in")
GONE_SECONDS = 10.0  # until all processes of an ended command are gone
FORKED_SECONDS = 20.0  # at most, since nothing is imported
STUCK = -1  # in place of an exit code
Snapshot = dict[str, str]  # from a file or folder to a hash of its content


@dataclass(frozen=True)
class Outcome:
    """What a case led to; `faults` is empty if all is as expected."""

    case: Case
    message: str
    code: int
    seconds: float
    left: tuple[str, ...]
    faults: tuple[str, ...]
    skipped: str = ""


def carry_out(case: Case, number: int, base: Path, forked: bool = False) -> Outcome:
    """Run a case in a folder of its own under `base`, which holds `model`.

    `forked` runs it in a fork of this process, unless it needs a process of its own.
    """
    reason = _impossible(case)
    if reason:
        return Outcome(case, "", 0, 0.0, (), (), reason)
    folder = base / f"{number:03d}" / "w"
    usual(folder, base / "model")
    case.make(folder)
    (folder.parent / "tmp").mkdir()
    before, mark = snapshot(folder), f"{os.getpid()}-{number}"
    began = time.monotonic()
    run = _run_forked if forked and not case.alone else _run
    code, text = run(case, folder, mark)
    seconds = time.monotonic() - began
    faults, left = [*problems(case, code, text)], []
    still = _still_running(mark)
    if still:
        faults.append(f"processes are left: {', '.join(still)}")
    after = snapshot(folder)
    faults += changes(before, after)
    for path in sorted(after.keys() - before.keys()):
        left.append(path)
    left += [f"$TMPDIR/{path.name}" for path in sorted((folder.parent / "tmp").iterdir())]
    faults += [f"left behind: {path}" for path in left if not _may_stay(case, path)]
    message = text.replace(str(folder), ".").replace(str(folder.parent / "tmp"), "$TMPDIR")
    message = message.replace(str(Path.home()), "~")
    if not faults:
        shutil.rmtree(folder.parent)
    return Outcome(case, message, code, seconds, tuple(left), tuple(faults))


def problems(case: Case, code: int, text: str) -> Iterator[str]:
    """Yield what is wrong with the exit code and the message of a command."""
    if code == STUCK:
        yield f"no end after {case.seconds:.0f} s"
    elif code not in case.codes:
        yield f"exit code {code}"
    for noise in NOISE:
        if text.count(noise) > case.shows_trace:
            yield f"the message has: {noise}"
    if not re.search(case.says, text):
        yield f"the message does not say {case.says!r}"
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > case.lines:
        yield f"{len(lines)} lines"


def snapshot(folder: Path) -> Snapshot:
    """Return a hash of every file under a folder, and the folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if "__pycache__" not in path.parts:
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what has been lost or changed of what existed before."""
    lost = [f"lost: {path}" for path in before if path not in after]
    return lost + [f"changed: {p}" for p in before if p in after and before[p] != after[p]]


def environment(case: Case, folder: Path) -> dict[str, str]:
    """Return the variables that a case's process gets."""
    variables = {"TMPDIR": str(folder.parent / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    return variables | case.environment


def _run_forked(case: Case, folder: Path, mark: str) -> tuple[int, str]:
    """Do as `_run`, in a fork."""
    streams = folder.parent / "stdout", folder.parent / "stderr"
    variables = environment(case, folder) | {MARK: mark}
    code = run_forked(case.words, folder, variables, streams, min(case.seconds, FORKED_SECONDS))
    return _result(STUCK if code is None else code, mark, streams)


def _run(case: Case, folder: Path, mark: str) -> tuple[int, str]:
    """Return the exit code and all that was printed to stderr, and to stdout on an error."""
    output, errors = streams = folder.parent / "stdout", folder.parent / "stderr"
    inherited = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "http_proxy")}
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            _command(case),
            cwd=folder,
            env=inherited | environment(case, folder) | {MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            process_group=0,
        )
        code = _wait(case, process)
    return _result(code, mark, streams)


def _result(code: int, mark: str, streams: tuple[Path, Path]) -> tuple[int, str]:
    if code == STUCK:
        _kill(mark)
    said, text = (path.read_text(errors="replace") for path in streams)
    return code, text if "not correct" not in said else said + text


def _wait(case: Case, process: subprocess.Popen) -> int:
    """Return the exit code, as a shell gives it, after the interruption if there is one."""
    if case.interrupt:
        try:
            process.wait(case.interrupt)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
    try:
        code = process.wait(case.seconds)
    except subprocess.TimeoutExpired:
        return STUCK
    return 128 - code if code < 0 else code


def _command(case: Case) -> list[str]:
    words = [PROGRAM, *case.words]
    if not case.shell:
        return words
    shell = ["sh", "-c", f'{case.shell}\nexec "$@"', "sh", *words]
    return ["unshare", "--mount", *shell] if case.mounts else shell


def _impossible(case: Case) -> str:
    """Return why this machine cannot make the input, or ""."""
    if not case.mounts:
        return ""
    allowed = (
        shutil.which("unshare")
        and not subprocess.run(
            ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
        ).returncode
    )
    return "" if allowed else "mounting is not allowed here"


def _may_stay(case: Case, path: str) -> bool:
    # Ray's folder of a run that failed stays, because its logs may say why.
    patterns = (*case.left, "$TMPDIR/*") if case.heavy else case.left
    return any(fnmatch(path, pattern) for pattern in patterns)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _still_running(mark: str) -> list[str]:
    """Return the names of the case's processes that are left, and kill them."""
    end = time.monotonic() + GONE_SECONDS
    while (found := _marked(mark)) and time.monotonic() < end:
        time.sleep(0.2)
    names = []
    for process in found:
        try:
            names.append(process.name())
            process.kill()
        except psutil.Error:
            continue
    return names


def _kill(mark: str) -> None:
    for process in _marked(mark):
        try:
            process.kill()
        except psutil.Error:
            continue


def shown(outcomes: Sequence[Outcome]) -> str:
    """Return how many cases are as expected."""
    bad = sum(bool(outcome.faults) for outcome in outcomes)
    skipped = sum(bool(outcome.skipped) for outcome in outcomes)
    return f"{len(outcomes)} inputs: {len(outcomes) - bad - skipped} as expected, {bad} not, {skipped} skipped"
