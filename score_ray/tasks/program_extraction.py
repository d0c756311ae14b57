"""Finds the Python program in a model's completion.

If the markers [BEGIN] and [DONE] are there, only the text between them is read. The program is
the first of these that defines the entry point:

    1. the last complete fenced block, then the ones before it, then one that was cut,
    2. the first run of bare lines that is Python,
    3. with a `header` (the opening of a function): the header, continued by the completion.
       A completion that starts with an indented line is tried as such before 1 and 2.

A run of lines ends where it stops being Python, so that prose or a cut line after a function
does no harm. After the definition of the entry point only definitions, imports and assignments
without calls are kept; the rest merely uses the program (print, assert, input, main). If
nothing defines the entry point, the program is the first run that does anything; it will fail
its tests.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = "```"
LANGUAGE = re.compile(r"[ \t]*(\w*)")
PYTHON = ("", "python", "python3", "py")
START = re.compile(r"(?:import|from|def|async|class)\b|@|[A-Za-z_]\w*\s*=")
BODY_INDENT = "    "
# Without limits, the time for a text of broken lines would grow with the square of their number.
# Code with prose around it needs far fewer attempts than these.
MAX_STARTS, MAX_CUTS = 100, 30
# Characters that are parsed in all, for each character of the text and the header. Ordinary
# completions need 2 to 10; the limit keeps the time for hostile ones in proportion to their length.
PARSED_PER_CHARACTER = 100


@dataclass(frozen=True, slots=True)
class _Run:
    """Lines that are Python, and their syntax tree."""

    lines: list[str]
    tree: ast.Module


NOTHING = _Run([], ast.Module([], []))


class _Parser:
    """Finds the Python in lines, for as long as its budget of characters lasts."""

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._runs: dict[str, list[_Run]] = {}

    def beginning(self, lines: list[str]) -> _Run | None:
        """Return the longest beginning of the lines that is Python; None if there is none."""
        end = len(lines)
        for _ in range(MAX_CUTS):
            source = "\n".join(lines[:end])
            if len(source) > self._left:
                return None
            self._left -= len(source)
            try:
                return _Run(lines[:end], ast.parse(source))
            except SyntaxError as error:
                end = min((error.lineno or end) - 1, end - 1)
            except (ValueError, MemoryError, RecursionError):
                return None
            if end <= 0:
                return None
        return None

    def runs(self, piece: str) -> Iterator[_Run]:
        """Yield the runs of lines that are Python, each as long as possible."""
        if piece in self._runs:
            yield from self._runs[piece]
            return
        found: list[_Run] = []
        for run in self._find_runs(piece):
            found.append(run)
            yield run
        self._runs[piece] = found

    def _find_runs(self, piece: str) -> Iterator[_Run]:
        lines = textwrap.dedent(piece).strip("\n").split("\n")
        if START.match(lines[0].lstrip()):
            lines[0] = lines[0].lstrip()  # a tokenizer's leading space
        starts = [0, *(i for i, line in enumerate(lines) if i and START.match(line))]
        done = 0
        for start in starts[:MAX_STARTS]:
            if start >= done:
                run = self.beginning(lines[start:])
                if run:
                    yield run
                    done = start + len(run.lines)


def extract(text: str, entry_point: str, header: str = "") -> str:
    """Return the program in a completion; "" if it contains no code.

    `header` is the code that the completion was asked to continue, if any. Its imports and
    functions before the entry point always belong to the program.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in a model's strings would warn
        text, header = plain_newlines(text), plain_newlines(header)
        parser = _Parser(PARSED_PER_CHARACTER * (len(text) + len(header)))
        pieces = _pieces(_between_markers(text))
        before_entry = _header_before_entry(header, entry_point, parser)
        for piece in pieces:
            program = _program_in(piece, entry_point, header, before_entry, parser)
            if program:
                return program
        return next(_runs_with_effect(pieces, parser), "")


def plain_newlines(text: str) -> str:
    """Return the text with "\\n" as its only line break, and without NUL characters."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _between_markers(text: str) -> str:
    answer = text.rsplit("</think>", 1)[-1]
    return answer.split("[DONE]", 1)[0].rsplit("[BEGIN]", 1)[-1]


def _pieces(text: str) -> list[str]:
    """Return the fenced blocks in the order in which they are tried, then the whole text."""
    complete: list[str] = []
    cut: list[str] = []
    start, line_end = 0, -1
    while (start := text.find(FENCE, start)) >= 0:
        opened = start + len(FENCE)
        if line_end < opened:  # else it is still the end of this line
            line_end = text.find("\n", opened)
        if line_end < 0:
            break
        tick = text.find("`", opened, line_end)
        if tick >= 0:
            start += 1
            continue
        end = text.find(FENCE, line_end)
        language = LANGUAGE.match(text, opened, line_end)
        if language and language[1].lower() in PYTHON:
            (cut if end < 0 else complete).append(
                text[line_end + 1 : len(text) if end < 0 else end]
            )
        if end < 0:
            break
        start = end + len(FENCE)
    return [*reversed(complete), *cut, text]


def _program_in(
    piece: str, entry_point: str, header: str, before_entry: str, parser: _Parser
) -> str:
    """Return the program in a piece; "" if the piece does not define the entry point."""
    continues = bool(header) and piece.lstrip("\n")[:1].isspace()
    if continues and (program := _continue(header, [piece], entry_point, parser)):
        return program
    for run in parser.runs(piece):
        places = [i for i, s in enumerate(run.tree.body) if entry_point in _names(s)]
        if places:
            return before_entry + _without_use(run, places[-1], entry_point)
    return _continue(header, _indentations(piece), entry_point, parser) if header else ""


def _names(statement: ast.stmt) -> set[str]:
    """Return the names that a statement defines; imports do not count."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def _without_use(run: _Run, place: int, entry_point: str) -> str:
    """Return the run's lines; of those after the statement at `place`, only definitions."""
    kept: set[int] = set()
    for i, statement in enumerate(run.tree.body):
        before = i < place and not _is_prose(statement)
        after = i > place and _only_defines(statement) and entry_point not in _names(statement)
        if before or i == place or after:
            kept |= set(range(_first_line(statement), (statement.end_lineno or 0) + 1))
    return "\n".join(line for number, line in enumerate(run.lines, 1) if number in kept) + "\n"


def _first_line(statement: ast.stmt) -> int:
    """Return the number of a statement's first line, its decorators included."""
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])


def _is_prose(statement: ast.stmt) -> bool:
    """Return whether a statement is prose that happens to be an expression, like "Done"."""
    return isinstance(statement, ast.Expr) and not _calls(statement)


def _only_defines(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return not _calls(statement)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return isinstance(statement, kinds)


def _calls(statement: ast.stmt) -> bool:
    effects = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom)
    return any(isinstance(node, effects) for node in ast.walk(statement))


def _header_before_entry(header: str, entry_point: str, parser: _Parser) -> str:
    """Return the header's lines before the entry point: its imports and helper functions."""
    run = parser.beginning(header.split("\n")) or NOTHING
    for statement in run.tree.body:
        if entry_point in _names(statement):
            return "".join(f"{line}\n" for line in run.lines[: _first_line(statement) - 1])
    return ""


def _indentations(piece: str) -> list[str]:
    """Return the body as it is, with its first line indented, and with all lines indented."""
    return [piece, BODY_INDENT + piece.lstrip(), textwrap.indent(piece, BODY_INDENT)]


def _continue(header: str, bodies: list[str], entry_point: str, parser: _Parser) -> str:
    """Return the header with the body that makes the longest function; "" if none makes one."""
    head = header.rstrip("\n").split("\n")
    longest, program = 0, ""
    for body in bodies:
        run = parser.beginning([*head, *body.split("\n")]) or NOTHING
        for place, statement in enumerate(run.tree.body):
            end = statement.end_lineno or 0
            if end > longest and _has_body(statement, entry_point, len(head)):
                longest, program = end, _without_use(run, place, entry_point)
    return program


def _has_body(statement: ast.stmt, entry_point: str, head: int) -> bool:
    """Return whether it is the function of the head, with a body in the lines after the head."""
    if not isinstance(statement, ast.FunctionDef) or entry_point not in _names(statement):
        return False
    added = [s for s in statement.body if s.lineno > head]
    redefined = any(entry_point in _names(s) for s in added)  # so it is not a body
    return statement.lineno <= head and not redefined and not all(_is_prose(s) for s in added)


def _runs_with_effect(pieces: list[str], parser: _Parser) -> Iterator[str]:
    """Yield the runs that are not just prose."""
    for piece in pieces:
        for run in parser.runs(piece):
            if not all(_is_prose(statement) for statement in run.tree.body):
                yield "\n".join(run.lines) + "\n"
