"""The Python program in a model's completion.

What the markers [BEGIN] and [DONE] enclose is read where they stand. In it, the first of
these that defines the entry point is the program:

    1. the last complete fenced block, then the ones before it, then one that was cut,
    2. the first run of bare lines that is Python,
    3. with a `header` (the opening of a function): a completion that goes on with its body.
       One that starts with an indented line is tried as such before it is read as 1 or 2.

A run of lines ends where it stops to be Python, so that prose or a cut line after a function
does no harm. After the entry point's definition only definitions, imports and assignments
that call nothing are kept: the rest shows the program at work (print, assert, input, main).
If nothing defines the entry point, the first run that does anything is the program, and
fails its tests.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(r"```[ \t]*(\w*)[^\n`]*\n(.*?)(```|\Z)", re.S)
PYTHON = ("", "python", "python3", "py")
START = re.compile(r"(?:import|from|def|async|class)\b|@|[A-Za-z_]\w*\s*=")
BODY_INDENT = "    "
# A text of nothing but broken lines would take their number squared: far more than code
# with prose around it needs.
MOST_STARTS, MOST_CUTS = 100, 30


@dataclass(frozen=True, slots=True)
class _Run:
    """Lines that are Python, and their syntax tree."""

    lines: list[str]
    tree: ast.Module


def extract(text: str, entry_point: str, header: str = "") -> str:
    """The program in a completion; empty if it holds no code.

    `header` is the code that the completion was asked to go on from, if any: the imports and
    functions before the entry point belong to the program in any case.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes in a model's strings
        marked = _between_markers(plain_newlines(text))
        pieces, header = _pieces(marked), plain_newlines(header)
        for piece in pieces:
            program = _read(piece, entry_point, header)
            if program:
                return program
        return next(_code(pieces), "")


def plain_newlines(text: str) -> str:
    """The text with "\\n" as its only line break, as Python counts lines, and without NUL."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _between_markers(text: str) -> str:
    answer = text.rsplit("</think>", 1)[-1]
    return answer.split("[DONE]", 1)[0].rsplit("[BEGIN]", 1)[-1]


def _pieces(text: str) -> list[str]:
    """Fenced blocks in the order they are tried, and the text as it is."""
    blocks = [m for m in FENCE.finditer(text) if m[1].lower() in PYTHON]
    complete = [m[2] for m in reversed(blocks) if m[3]]
    return [*complete, *(m[2] for m in blocks if not m[3]), text]


def _read(piece: str, entry_point: str, header: str) -> str:
    """The program in a piece that defines the entry point; empty if it does not."""
    continues = bool(header) and piece.lstrip("\n")[:1].isspace()
    if continues and (program := _continue(header, [piece], entry_point)):
        return program
    for run in _runs(piece):
        places = [i for i, s in enumerate(run.tree.body) if entry_point in _names(s)]
        if places:
            return _before(header, entry_point) + _without_use(run, places[-1], entry_point)
    return _continue(header, _indented(piece), entry_point) if header else ""


def _runs(piece: str) -> Iterator[_Run]:
    """The runs of lines that are Python, each as long as it can be."""
    lines = textwrap.dedent(piece).strip("\n").split("\n")
    if START.match(lines[0].lstrip()):
        lines[0] = lines[0].lstrip()  # a tokenizer's leading space
    starts = [0, *(i for i, line in enumerate(lines) if i and START.match(line))]
    done = 0
    for start in starts[:MOST_STARTS]:
        if start >= done:
            run = _parse(lines[start:])
            if run:
                yield run
                done = start + len(run.lines)


def _parse(lines: list[str]) -> _Run | None:
    """The longest beginning of the lines that is Python; None if there is none."""
    end = len(lines)
    for _ in range(MOST_CUTS):
        try:
            return _Run(lines[:end], ast.parse("\n".join(lines[:end])))
        except SyntaxError as error:
            end = min((error.lineno or end) - 1, end - 1)
        except (ValueError, MemoryError, RecursionError):
            return None
        if end <= 0:
            return None
    return None


def _names(statement: ast.stmt) -> set[str]:
    """What a statement defines; an import defines nothing that could be tested."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def _without_use(run: _Run, place: int, entry_point: str) -> str:
    """The run's lines, of what follows the statement at `place` those that only define."""
    kept: set[int] = set()
    for i, statement in enumerate(run.tree.body):
        before = i < place and not _is_words(statement)
        after = i > place and _only_defines(statement) and entry_point not in _names(statement)
        if before or i == place or after:
            kept |= set(range(_first_line(statement), (statement.end_lineno or 0) + 1))
    return "\n".join(line for number, line in enumerate(run.lines, 1) if number in kept) + "\n"


def _first_line(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])


def _is_words(statement: ast.stmt) -> bool:
    """Prose that happens to be an expression, like "Done": it has no effect."""
    return isinstance(statement, ast.Expr) and not _calls(statement)


def _only_defines(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return not _calls(statement)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return isinstance(statement, kinds)


def _calls(statement: ast.stmt) -> bool:
    effects = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom)
    return any(isinstance(node, effects) for node in ast.walk(statement))


def _before(header: str, entry_point: str) -> str:
    """The header's lines before the entry point: its imports and helper functions."""
    run = _parse(header.split("\n")) or _Run([], ast.Module([], []))
    for statement in run.tree.body:
        if entry_point in _names(statement):
            return "".join(f"{line}\n" for line in run.lines[: _first_line(statement) - 1])
    return ""


def _indented(piece: str) -> list[str]:
    """A body whose first line, or every line, may have lost its indentation."""
    return [piece, BODY_INDENT + piece.lstrip(), textwrap.indent(piece, BODY_INDENT)]


def _continue(header: str, bodies: list[str], entry_point: str) -> str:
    """The header with the body that makes the longest function; empty if none makes one."""
    head = header.rstrip("\n").split("\n")
    longest, program = 0, ""
    for body in bodies:
        run = _parse([*head, *body.split("\n")]) or _Run([], ast.Module([], []))
        for place, statement in enumerate(run.tree.body):
            end = statement.end_lineno or 0
            if end > longest and _has_body(statement, entry_point, len(head)):
                longest, program = end, _without_use(run, place, entry_point)
    return program


def _has_body(statement: ast.stmt, entry_point: str, head: int) -> bool:
    """Whether it is the head's function, and does something in the lines after the head."""
    if not isinstance(statement, ast.FunctionDef) or entry_point not in _names(statement):
        return False
    added = [s for s in statement.body if s.lineno > head]
    whole = any(entry_point in _names(s) for s in added)  # a definition, not a body
    return statement.lineno <= head and not whole and not all(_is_words(s) for s in added)


def _code(pieces: list[str]) -> Iterator[str]:
    """The runs that do anything at all."""
    for piece in pieces:
        for run in _runs(piece):
            if not all(_is_words(statement) for statement in run.tree.body):
                yield "\n".join(run.lines) + "\n"
