"""Judges programs by running tests on them, so that no program can forge its verdict.

The program and its tests run in two sandboxes (sandbox.py), joined by one channel that carries
plain data (rpc.py). The verdict is the tests' process's own, said on a pipe that the
program does not have; expected values exist only in that process. So the program can do no
more than answer calls, and be right.
"""

import ast
import builtins
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from select import select
from symtable import SymbolTable, symtable

from score_ray.tasks.sandbox.sandbox import KILLED, Limits, await_start, sandboxed
from score_ray.types import Verdict

RPC = Path(__file__).with_name("rpc.py").read_text()
LAST_WORDS = 1.0  # seconds in which a process that has hung up should end


@dataclass(frozen=True, slots=True)
class ProgramTests:
    """Statements that fail where a program is wrong, run in order after `setup`.

    `setup` and `tests` are trusted, and run where the program is not: they see of it what they
    name and do not define. `entry_point` is the program's even where setup has a stub of it or
    it is the name of a builtin. ValueError if there is no test, or one is not Python.
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
    """CORRECT if every test passes in time, else WRONG, TIMEOUT or NO_ANSWER (nothing there).

    GRADER_ERROR where the tests themselves failed: they import what is missing here, or give
    the program something that is not plain data. IsolationError where nothing could be run.
    """
    if not program.strip():
        return Verdict.NO_ANSWER
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(s) for s in socket.socketpair())
        hear, say = (stack.enter_context(open(fd, "rb", 0)) for fd in os.pipe())
        fds = (ours.fileno(), say.fileno())
        candidate = stack.enter_context(
            sandboxed(_served(program, theirs.fileno()), limits, (theirs.fileno(),))
        )
        judge = stack.enter_context(sandboxed(_judging(tests, fds), limits, fds))
        for passed_on in (ours, theirs, say):
            passed_on.close()
        await_start(candidate)
        await_start(judge)
        end = time.monotonic() + limits.seconds
        if not select([hear], [], [], max(0.0, end - time.monotonic()))[0]:
            return Verdict.TIMEOUT
        return _verdict(hear.read(64), candidate, judge)


def _verdict(
    said: bytes, candidate: subprocess.Popen[bytes], judge: subprocess.Popen[bytes]
) -> Verdict:
    """The verdict of what the tests' process said: nothing, if it ended before its time."""
    if said == b"gone":
        return Verdict.TIMEOUT if _ran_out_of_time(candidate) else Verdict.WRONG
    if not said:
        return Verdict.TIMEOUT if _ran_out_of_time(judge) else Verdict.GRADER_ERROR
    return Verdict(said.decode())


def _ran_out_of_time(process: subprocess.Popen[bytes]) -> bool:
    try:
        return process.wait(LAST_WORDS) == KILLED
    except subprocess.TimeoutExpired:
        return False


def _served(program: str, channel: int) -> str:
    return f"{RPC}\nserve({program!a}, {channel})\n"


def _judging(tests: ProgramTests, fds: tuple[int, int]) -> str:
    names, modules = _names_of(tests)
    setup = "".join(f"import {module}\n" for module in modules) + tests.setup
    return f"{RPC}\njudge({setup!a}, {tests.tests!a}, {names}, {tests.entry_point!r}, {fds})\n"


@lru_cache(maxsize=4096)
def _names_of(tests: ProgramTests) -> tuple[list[str], list[str]]:
    """The names that the tests have of the program, and the modules they use without importing.

    Builtins are trusted: no program passes by redefining `abs` or `all`. Only where the tests
    name nothing else (`assert sum(10, 15) == 6`) can they be the program's.
    """
    text = "\n".join([tests.setup, *tests.tests])
    top = symtable(text, "tests", "exec")
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used = _globals_used(top) - defined
    unknown = {name for name in used if not hasattr(builtins, name)} | {tests.entry_point} - {""}
    modules = _only_looked_into(text) & unknown & sys.stdlib_module_names - {tests.entry_point}
    return sorted((unknown or used) - modules), sorted(modules)


def _globals_used(table: SymbolTable) -> set[str]:
    used = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global())
    }
    return used.union(*map(_globals_used, table.get_children()))


def _only_looked_into(text: str) -> set[str]:
    """Names that occur in `name.attribute` alone, as a module's does."""
    nodes = list(ast.walk(ast.parse(text)))
    owners = {id(node.value): node.value for node in nodes if isinstance(node, ast.Attribute)}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    return {n.id for n in names} - {n.id for n in names if id(n) not in owners}
