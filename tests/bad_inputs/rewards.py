"""Reward functions that cannot be imported, or give no reward."""

from tests.bad_inputs.case import Case
from tests.bad_inputs.inputs import file

KIND = "rewards"
OUTCOMES = ("rewards", "run", "run/*")


def imported(name: str, says: str, content: str, place: str = "", **more) -> Case:
    """Return a case of a module, which has the case's own name as other cases' stay imported."""
    module = "reward_" + "_".join(name.split()).replace("'", "")
    words = ("train", "run.yaml", f"grading.reward={place or f'{module}:score'}")
    make = file(f"{module}.py", content)
    return Case(KIND, name, words, rf"grading\.reward.*{says}", make, **more)


def called(name: str, says: str, body: str, imports: str = "", shows_trace: bool = False) -> Case:
    """Return a case of a function that fails in every call, which ends a run by its name."""
    content = f"{imports}\ndef score(problem, text):\n    {body}\n"
    # The run had started: it keeps what it had written.
    more = {"heavy": True, "seconds": 200.0, "lines": 30, "left": ("runs", "runs/*")}
    case = imported(name, "", content, **more)
    return Case(**{**vars(case), "says": says, "shows_trace": shows_trace})


FINE = "def score(problem, text):\n    return 1.0\n"
CASES = [
    imported("no such module", "no_such_reward", FINE, "no_such_reward:score"),
    imported("no such function", "no function 'scores'", FINE, "reward_no_such_function:scores"),
    imported("no colon", "module:function", FINE, "reward_no_colon"),
    imported("a number in place of a function", "no function 'score'", "score = 1\n"),
    imported("an import that fails", "no_such_package", f"import no_such_package\n{FINE}"),
    imported("a fault of syntax", r"SyntaxError.*reward_a_fault_of_syntax\.py, line 1", "def score(:\n"),
    imported("an error at import", "too early", f"raise RuntimeError('too early')\n{FINE}"),
    imported("an exit at import", r"reward_an_exit_at_import.*SystemExit", f"import sys\nsys.exit(0)\n{FINE}"),
    imported("a coroutine", "reward_a_coroutine:score is an async function", f"async {FINE}"),
    imported("a function without arguments", "reward_a_function_without_arguments:score .*arguments", "def score():\n    return 1.0\n"),
    called("an error in every call", r"no reward today", "raise RuntimeError('no reward today')", shows_trace=True),
    called("NaN in every call", r"nan", "return float('nan')"),
    called("text in every call", r"good", "return 'good'"),
    called("None in every call", r"None", "return None"),
    called("an exit in every call", r"SystemExit|exit", "raise SystemExit(3)", shows_trace=True),
    called("no end of any call", r"timeout|deadline", "time.sleep(99)", "import time"),
]  # fmt: skip
