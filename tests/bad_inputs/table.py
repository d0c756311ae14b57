"""The table of bad inputs and what they led to."""

import re
from collections.abc import Sequence

from tests.bad_inputs.process import STUCK, Outcome

COLUMNS = ("kind", "input", "message", "exit", "seconds", "left behind")
MOST_LETTERS = 240  # of a message
FRAME = re.compile(r"[╭╮╰╯│─]+")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a table in Markdown, with their faults if there are any."""
    faulty = any(outcome.faults for outcome in outcomes)
    columns = (*COLUMNS, "not as expected") if faulty else COLUMNS
    rows = [_cells(outcome) + ((_faults(outcome),) if faulty else ()) for outcome in outcomes]
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(outcome: Outcome) -> tuple[str, ...]:
    case = outcome.case
    if outcome.skipped:
        return (case.kind, _plain(case.name), f"skipped: {outcome.skipped}", "", "", "")
    code = "none" if outcome.code == STUCK else str(outcome.code)
    left = ", ".join(dict.fromkeys(_top(path) for path in outcome.left)) or "nothing"
    message = _message(outcome.message)
    return (case.kind, _plain(case.name), message, code, f"{outcome.seconds:.1f}", left)


def _message(text: str) -> str:
    """Return a message as one line, without the frame and the advice of usage errors."""
    lines = [FRAME.sub(" ", line).strip() for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith(("Usage: ", "Try '"))]
    return _plain(_shortened(" ".join(" ".join(said).split())))


def _shortened(text: str) -> str:
    if len(text) <= MOST_LETTERS:
        return text
    return f"{text[: MOST_LETTERS // 2]} ... {text[-MOST_LETTERS // 2 :]}"


def _top(path: str) -> str:
    return "/".join(path.split("/")[:2])


def _plain(text: str) -> str:
    """Return a text in which nothing is Markdown or HTML."""
    for sign in "\\|*_<>`[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")


def _faults(outcome: Outcome) -> str:
    return _plain(_shortened("; ".join(outcome.faults)))
