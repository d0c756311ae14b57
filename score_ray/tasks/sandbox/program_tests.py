"""Grades programs by running tests on them, in such a way that no program can forge its verdict.

The program and its tests run in two sandboxes (sandbox.py), joined by one channel that carries
plain data (rpc.py). The process of the tests writes the verdict to a pipe that the program does
not have, and expected values exist only in that process. So the program can only answer calls.
"""

import ast
import builtins
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from select import select
from symtable import SymbolTable, symtable
from typing import IO

from score_ray.tasks.sandbox.sandbox import KILLED, Limits, await_start, sandboxed
from score_ray.types import Verdict

Process = subprocess.Popen[bytes]

RPC_SOURCE = Path(__file__).with_name("rpc.py").read_text()
EXIT_SECONDS = 1.0  # for a process to end after it closed its channel


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


def check_program(program: str, tests: ProgramTests, limits: Limits = Limits()) -> Verdict:  # noqa: B008
    """Return CORRECT if every test passes in time, else WRONG, TIMEOUT or NO_ANSWER (no code).

    Returns GRADER_ERROR if the tests themselves fail: they import a module that is missing here,
    or pass the program something that is not plain data. Raises IsolationError if programs
    cannot be isolated here, so that none was run.
    """
    if not program.strip():
        return Verdict.NO_ANSWER
    with _both_sandboxes(program, tests, limits) as (verdict_pipe, candidate, judge):
        await_start(candidate)
        await_start(judge)
        if not select([verdict_pipe], [], [], limits.seconds)[0]:
            return Verdict.TIMEOUT
        return _verdict(verdict_pipe.read(64), candidate, judge)


@contextmanager
def _both_sandboxes(
    program: str, tests: ProgramTests, limits: Limits
) -> Iterator[tuple[IO[bytes], Process, Process]]:
    """Run the program and its tests while the block runs; the verdict comes through the pipe."""
    with ExitStack() as stack:
        judge_end, program_end = (stack.enter_context(s) for s in socket.socketpair())
        reader, writer = (stack.enter_context(open(fd, "rb", 0)) for fd in os.pipe())
        fds = (judge_end.fileno(), writer.fileno())
        source = f"{RPC_SOURCE}\nserve({program!a}, {program_end.fileno()})\n"
        candidate = stack.enter_context(sandboxed(source, limits, (program_end.fileno(),)))
        judge = stack.enter_context(sandboxed(_judge_source(tests, fds), limits, fds))
        for inherited in (judge_end, program_end, writer):
            inherited.close()
        yield reader, candidate, judge


def _judge_source(tests: ProgramTests, fds: tuple[int, int]) -> str:
    names, modules = _names_of(tests)
    setup = "".join(f"import {module}\n" for module in modules) + tests.setup
    arguments = f"{setup!a}, {tests.tests!a}, {names}, {tests.entry_point!r}, {fds}"
    return f"{RPC_SOURCE}\njudge({arguments})\n"


def _verdict(written: bytes, candidate: Process, judge: Process) -> Verdict:
    """Return the verdict for what the tests' process wrote: nothing, if it was killed."""
    if written == b"gone":  # the program's process closed the channel, or sent nonsense
        return Verdict.TIMEOUT if _ran_out_of_time(candidate) else Verdict.WRONG
    if not written:
        return Verdict.TIMEOUT if _ran_out_of_time(judge) else Verdict.GRADER_ERROR
    return Verdict(written.decode())


def _ran_out_of_time(process: Process) -> bool:
    try:
        return process.wait(EXIT_SECONDS) == KILLED
    except subprocess.TimeoutExpired:
        return False


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
