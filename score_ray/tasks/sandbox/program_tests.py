"""Grades programs by running tests on them, in such a way that no program can forge its verdict.

The program and its tests run in two sandboxes (sandbox.py), joined by one channel that carries
plain data (rpc.py). The process of the tests writes the verdict to a pipe that the program does
not have, and expected values exist only in that process. So the program can only answer calls.
"""

import ast
import builtins
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from select import select
from symtable import SymbolTable, symtable
from typing import IO

from score_ray.tasks.sandbox.sandbox import Limits, ProcessShortageError, await_start, sandboxed
from score_ray.types import Verdict

Process = subprocess.Popen[bytes]

RPC_SOURCE = Path(__file__).with_name("rpc.py").read_text()
# Seconds before each new try while no process can be started: together longer than most programs
# run, and shorter than the deadline of a grading process.
PAUSES = (0.1, 0.4, 1.5, 3.0)


@dataclass(frozen=True, slots=True)
class ProgramTests:
    """Statements that raise an exception if a program is wrong, run in order after `setup`.

    `setup` and `tests` are trusted, and run in another process than the program. Names that they
    use and do not define are the program's. `entry_point` is the program's even if setup has a
    stub of it or it is the name of a builtin.

    Raises ValueError if there is no test, or one is not Python.
    """

    setup: str
    tests: tuple[str, ...]
    entry_point: str = ""

    def __post_init__(self) -> None:
        if not self.tests:
            raise ValueError("a program needs at least one test")
        for text in (self.setup, *self.tests):
            try:
                ast.parse(text)
            except SyntaxError as error:
                raise ValueError(f"a test is not Python ({error}): {text!r}") from error


def check_program(
    program: str,
    tests: ProgramTests,
    limits: Limits = Limits(),  # noqa: B008
    packages: tuple[str, ...] = (),
) -> Verdict:
    """Return CORRECT if every test passes in time, else WRONG, or NO_ANSWER if there is no code.

    A program that takes too long, or too much memory, is WRONG. GRADER_ERROR is for the tests
    themselves, where no program can cause it: they import a module that is missing here, or
    pass the program something that cannot be sent. Raises IsolationError if the program cannot
    be isolated, so that it was not run; a shortage of processes is waited for at first.
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
        if not select([verdict_pipe], [], [], limits.seconds)[0]:
            return Verdict.WRONG
        return _verdict(verdict_pipe.read(64), judge, limits)


@contextmanager
def _both_sandboxes(
    program: str, tests: ProgramTests, limits: Limits, packages: tuple[str, ...]
) -> Iterator[tuple[IO[bytes], Process, Process]]:
    """Run the program and its tests while the block runs; the verdict comes through the pipe."""
    with ExitStack() as stack:
        judge_end, program_end = (stack.enter_context(s) for s in socket.socketpair())
        reader, writer = (stack.enter_context(open(fd, "rb", 0)) for fd in os.pipe())
        fds = (judge_end.fileno(), writer.fileno())
        sources = _candidate_source(program, program_end.fileno()), _judge_source(tests, fds)
        candidate, judge = (
            stack.enter_context(sandboxed(source, limits, packages, inherited))
            for source, inherited in zip(sources, ((program_end.fileno(),), fds), strict=True)
        )
        for end in (judge_end, program_end, writer):
            end.close()
        yield reader, candidate, judge


def _candidate_source(program: str, fd: int) -> str:
    return f"{RPC_SOURCE}\nserve({program!a}, {fd})\n"


def _judge_source(tests: ProgramTests, fds: tuple[int, int]) -> str:
    names, modules = _names_of(tests)
    setup = "".join(f"import {module}\n" for module in modules) + tests.setup
    arguments = f"{setup!a}, {tests.tests!a}, {names}, {tests.entry_point!r}, {fds}"
    return f"{RPC_SOURCE}\njudge({arguments})\n"


def _verdict(written: bytes, judge: Process, limits: Limits) -> Verdict:
    """Return the verdict for what the tests' process wrote: nothing, if it was killed.

    What it receives from the program may have killed it, by its size for instance. Only somebody
    else can have killed it with SIGKILL before its processor time was used up.
    """
    if written:
        return Verdict(written.decode())
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
    text = "\n".join([tests.setup, *tests.tests])
    top = symtable(text, "tests", "exec")
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
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


def _used_as_modules(text: str) -> set[str]:
    """Return the names that occur only in `name.attribute`, as a module's name does."""
    nodes = list(ast.walk(ast.parse(text)))
    owners = {id(node.value): node.value for node in nodes if isinstance(node, ast.Attribute)}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    return {n.id for n in names} - {n.id for n in names if id(n) not in owners}
