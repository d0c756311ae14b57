"""Grades programs by running tests on them, in such a way that no program can forge its verdict.

The program and its tests run in two sandboxes (sandbox.py), joined by one channel that carries
plain data (program_side.py, tests_side.py). The process of the tests writes the verdict to a pipe
that the program does not have, and expected values exist only in that process. So the program can
only answer calls.
"""

import ast
import builtins
import marshal
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from select import select
from symtable import SymbolTable, symtable
from typing import IO

from score_ray.tasks.sandbox.compared_classes import compared_class
from score_ray.tasks.sandbox.processor_time import processor_time
from score_ray.tasks.sandbox.sandbox import Limits, ProcessShortageError, await_start, sandboxed
from score_ray.types import Verdict

Process = subprocess.Popen[bytes]

SHARED = ("plain_values", "packing", "channel")  # modules that both processes run
# The most time that a program gets on a busy machine, and the share of its time that it must have
# used to be WRONG nevertheless: threads that wait for each other do not make a machine busy.
PATIENCE, BUSY = 1.25, 0.8
FIRST, SHORTEST = 0.05, 0.02  # shares of the time: the first wait, and one not worth waiting
# Seconds before each new try while no process can be started: together longer than most programs
# run, and shorter than the deadline of a grading process.
PAUSES = (0.1, 0.4, 1.5, 3.0)


class UnrunnableTestsError(ValueError):
    """A failure of tests that no program can pass or cause; the message says what they need."""


@dataclass(frozen=True, slots=True)
class ProgramTests:
    """Statements that raise an exception if a program is wrong, run in order after `setup`.

    `header` is code that the program starts with: its functions and classes are the tests' own,
    whatever the program makes of them, and instances of its classes can be passed to and from
    the program. Header, setup and tests are trusted, and run in another process than the
    program. Names that they use and do not define are the program's. `entry_point` is the
    program's even if they have a stub of it or it is the name of a builtin.

    Raises ValueError if there is no test, one is not Python, or one compares objects that only
    the program can compare.
    """

    setup: str
    tests: tuple[str, ...]
    entry_point: str = ""
    header: str = ""

    def __post_init__(self) -> None:
        if not self.tests:
            raise ValueError("a program needs at least one test")
        for text in (self.header, self.setup, *self.tests):
            try:
                ast.parse(text)
            except SyntaxError as error:
                raise ValueError(f"a test is not Python ({error}): {text!r}") from error
        if compared := compared_class(self.source, frozenset(_names_of(self)[0]), self.entry_point):
            raise ValueError(
                f"the tests compare objects of {compared}, a class of the program's own, which a "
                f"program could make equal to everything: compare their attributes, or define "
                f"{compared} before the tests"
            )

    @property
    def source(self) -> str:
        """All code of the tests."""
        return "\n".join([self.header, self.setup, *self.tests])


def check_program(
    program: str,
    tests: ProgramTests,
    limits: Limits = Limits(),  # noqa: B008
    packages: tuple[str, ...] = (),
) -> Verdict:
    """Return CORRECT if every test passes in time, else WRONG, or NO_ANSWER if there is no code.

    A program that takes too long, or too much memory, is WRONG; it is TIMEOUT if a busy machine
    kept it from running instead. It is GRADER_ERROR if somebody
    else killed the process of the tests. Raises UnrunnableTestsError where the tests cannot be
    run, which no program can cause: they import a module that is missing here, or pass the
    program what cannot be sent. Raises IsolationError if the program cannot be isolated, so that
    it was not run; a shortage of processes is waited for at first.
    """
    if not program.strip():
        return Verdict.NO_ANSWER
    for pause in PAUSES:
        try:
            return _run_tests(program, tests, limits, packages)
        except ProcessShortageError:
            time.sleep(pause)
    return _run_tests(program, tests, limits, packages)


def _run_tests(
    program: str, tests: ProgramTests, limits: Limits, packages: tuple[str, ...]
) -> Verdict:
    with _both_sandboxes(program, tests, limits, packages) as (verdict_pipe, candidate, judge):
        await_start(candidate)
        await_start(judge)
        late = _await_verdict(verdict_pipe, {candidate.pid, judge.pid}, limits.seconds)
        return late or _verdict(verdict_pipe.read(2000), judge, limits)


def _await_verdict(pipe: IO[bytes], groups: set[int], seconds: float) -> Verdict | None:
    """Wait for something in the pipe; return a verdict if the time is over.

    Time in which a busy machine kept the processes waiting is not the program's: it is added,
    up to a bound, after which the measurement has failed.
    """
    started, bound = time.monotonic(), PATIENCE * seconds
    left = FIRST * seconds
    if select([pipe], [], [], left)[0]:  # as for most programs: looking at all processes is slow
        return None
    before = processor_time(groups).waited
    left = seconds - left
    while not select([pipe], [], [], left)[0]:
        passed, spent = time.monotonic() - started, processor_time(groups)
        left = min(seconds + spent.waited - before, bound + 0.1) - passed
        if passed >= bound and spent.used < BUSY * seconds:
            return Verdict.TIMEOUT
        if left < SHORTEST * seconds:
            return Verdict.WRONG
    return None


@contextmanager
def _both_sandboxes(
    program: str, tests: ProgramTests, limits: Limits, packages: tuple[str, ...]
) -> Iterator[tuple[IO[bytes], Process, Process]]:
    """Run the program and its tests while the block runs; the verdict comes through the pipe."""
    with ExitStack() as stack:
        judge_end, program_end = (stack.enter_context(s) for s in socket.socketpair())
        reader, writer = (stack.enter_context(open(fd, "rb", 0)) for fd in os.pipe())
        fds = (judge_end.fileno(), writer.fileno())
        sources = (
            _process_source(
                "program_side",
                f"serve({program!a}, {_classes_of(tests.header)}, {program_end.fileno()})",
            ),
            _process_source("tests_side", _judge_call(tests, fds)),
        )
        candidate, judge = (
            stack.enter_context(sandboxed(source, limits, packages, inherited))
            for source, inherited in zip(sources, ((program_end.fileno(),), fds), strict=True)
        )
        for end in (judge_end, program_end, writer):
            end.close()
        yield reader, candidate, judge


@cache
def _modules(last: str) -> str:
    """Return the code that makes the modules of a process, and runs the last one as its own.

    They are compiled once, here, since every process would wait for that.
    """
    lines = ["import marshal, sys"]
    for name in SHARED:
        full = f"{__package__}.{name}"
        lines.append(f"sys.modules[{full!r}] = module = type(sys)({full!r})")
        lines.append(f"exec(marshal.loads({_compiled(name)!r}), vars(module))")
    return "\n".join([*lines, f"exec(marshal.loads({_compiled(last)!r}))"])


def _compiled(name: str) -> bytes:
    source = Path(__file__).with_name(f"{name}.py").read_text()
    return marshal.dumps(compile(source, name, "exec", dont_inherit=True))


def _process_source(module: str, call: str) -> str:
    return f"{_modules(module)}\n{call}\n"


def _judge_call(tests: ProgramTests, fds: tuple[int, int]) -> str:
    names, modules = _names_of(tests)
    setup = "".join(f"import {module}\n" for module in modules) + tests.setup
    sources = (tests.header, setup, *tests.tests)
    return f"judge({sources!a}, {names}, {tests.entry_point!r}, {_classes_of(tests.header)}, {fds})"


@lru_cache(maxsize=4096)
def _classes_of(header: str) -> list[str]:
    """Return the names of the classes that a header defines at the top level."""
    return [node.name for node in ast.parse(header).body if isinstance(node, ast.ClassDef)]


def _verdict(written: bytes, judge: Process, limits: Limits) -> Verdict:
    """Return the verdict for what the tests' process wrote: nothing, if it was killed.

    What it receives from the program may have killed it, by its size for instance. Only somebody
    else can have killed it with SIGKILL before its processor time was used up.
    """
    verdict, _, reason = written.decode(errors="replace").partition(" ")
    if reason:
        raise UnrunnableTestsError(reason)
    if verdict:
        return Verdict(verdict)
    _, status, usage = os.wait4(judge.pid, 0)
    judge.returncode = os.waitstatus_to_exitcode(status)
    in_time = usage.ru_utime + usage.ru_stime < 0.9 * limits.cpu_seconds
    killed = judge.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    return Verdict.GRADER_ERROR if killed and in_time else Verdict.WRONG


@lru_cache(maxsize=4096)
def _names_of(tests: ProgramTests) -> tuple[list[str], list[str]]:
    """Return the names that the tests take from the program, and the modules they forgot to import.

    Builtins are not taken from the program: it cannot pass by redefining `abs` or `all`. If the
    tests name nothing else (`assert sum(10, 15) == 6`), the builtins that they name are.
    """
    text = tests.source
    top = symtable(text, "tests", "exec")
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    defined |= _imported_by_star(text)
    used = _globals_used(top) - defined
    unknown = {name for name in used if not hasattr(builtins, name)} | {tests.entry_point} - {""}
    modules = _used_as_modules(text) & unknown & sys.stdlib_module_names - {tests.entry_point}
    return sorted((unknown or used) - modules), sorted(modules)


def _globals_used(table: SymbolTable) -> set[str]:
    """Return the global names that a block and the blocks in it refer to."""
    used = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global())
    }
    return used.union(*map(_globals_used, table.get_children()))


def _imported_by_star(text: str) -> set[str]:
    """Return the names that `from module import *` defines, for the standard library."""
    stars = [
        node.module
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module and node.names[0].name == "*"
    ]
    found: set[str] = set()
    for name in stars:
        if name.split(".")[0] in sys.stdlib_module_names:
            module = import_module(name)
            found |= set(getattr(module, "__all__", [n for n in vars(module) if n[0] != "_"]))
    return found


def _used_as_modules(text: str) -> set[str]:
    """Return the names that occur only in `name.attribute`, as a module's name does."""
    nodes = list(ast.walk(ast.parse(text)))
    owners = {id(node.value): node.value for node in nodes if isinstance(node, ast.Attribute)}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    return {n.id for n in names} - {n.id for n in names if id(n) not in owners}
