"""Gives the program some two hundred bad inputs, and prints what it answers as a table.

    python -m tests.bad_inputs --out docs/bad_inputs.md
    python -m tests.bad_inputs --only "a csv"        # those whose kind or name has this text
    python -m tests.bad_inputs --light               # those that start neither Ray nor vLLM

Every input is given to a process of its own, in a fresh folder. It must end with a message of a few
lines that names the key, file or row, without a traceback, in time. What existed must be as before,
and nothing may be left: no file, no run folder, no process. The exit code is 0 if all is so.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bad_inputs.case import Case
from tests.bad_inputs.cases import CASES
from tests.bad_inputs.forked import import_libraries
from tests.bad_inputs.process import Outcome, carry_out, shown
from tests.bad_inputs.table import table
from tests.support.tiny_model import make_model

INTRODUCTION = """\
# Bad inputs

What the program answers to inputs that it cannot use. `python -m tests.bad_inputs --out \
docs/bad_inputs.md` gives each of them to a process and writes this table; it fails if one ends with a \
traceback, takes too long, changes what existed, or leaves a file, a run folder or a process behind \
that should not be there. `.` is the folder that the command was started in. Long messages are \
cut in their middle.

"""


def main() -> int:
    """Run the chosen cases; return 1 unless all are as expected."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="the file for the table")
    parser.add_argument("--only", default="", help="a part of the kind or the name of the cases")
    parser.add_argument("--light", action="store_true", help="leave out what starts Ray")
    parser.add_argument("--forked", action="store_true", help="in forks, which is faster")
    options = parser.parse_args()
    cases = [c for c in CASES if options.only in f"{c.kind}: {c.name}"]
    if options.light:
        cases = [case for case in cases if not (case.heavy or case.trained)]
    base = Path(tempfile.mkdtemp(prefix="bad-", dir="/tmp"))  # a short path, for Ray's sockets
    outcomes: list[Outcome] = []
    for outcome in run(cases, base, options.forked):
        outcomes.append(outcome)
        if options.out:  # after each, so that a table is there if this is ended early
            order = sorted(outcomes, key=lambda one: CASES.index(one.case))
            options.out.write_text(INTRODUCTION + table(order))
    if not options.out:
        print(table(outcomes))
    print(f"{shown(outcomes)}; the folders of those that are not are in {base}", file=sys.stderr)
    return int(any(outcome.faults for outcome in outcomes))


def run(cases: Sequence[Case], base: Path, forked: bool = False) -> Iterator[Outcome]:
    """Yield what the cases lead to: light ones two at a time, then one heavy one after another."""
    make_model(base / "model")
    if forked:
        import_libraries()
    if any(case.trained for case in cases):
        _print(carry_out(FIRST_RUN, -1, base))
        (base / "-01").rename(base / "trained")
    for heavy, workers in ((False, 1 if forked else 2), (True, 1)):
        group = [case for case in cases if case.heavy == heavy]
        with ThreadPoolExecutor(workers) as pool:
            numbered = [(case, CASES.index(case)) for case in group]
            for outcome in pool.map(lambda pair: carry_out(*pair, base, forked), numbered):
                _print(outcome)
                yield outcome


def _print(outcome: Outcome) -> None:
    verdict = outcome.skipped or "; ".join(outcome.faults) or "as expected"
    print(f"{outcome.case.kind}: {outcome.case.name}: {verdict}", file=sys.stderr, flush=True)


# Not a bad input: the run that others resume with changed data. Its faults are its leftovers.
FIRST_RUN = Case("setup", "a run", ("train", "math.yaml"), "", codes=(0,), seconds=300, heavy=True)

if __name__ == "__main__":
    sys.exit(main())
