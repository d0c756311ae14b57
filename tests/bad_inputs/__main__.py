"""Gives the program some two hundred bad inputs, and prints what it answers as a table.

    python -m tests.bad_inputs --out docs/bad_inputs.md
    python -m tests.bad_inputs --only "a csv"        # those whose kind or name has this text
    python -m tests.bad_inputs --light               # those that start neither Ray nor vLLM

    python -m tests.bad_inputs --out t.md --results r.jsonl    # can be ended, and then continued

Every input is given to a process of its own, in a fresh folder. It must end with a message of a few
lines that names the key, file or row, without a traceback, in time. What existed must be as before,
and nothing may be left: no file, no run folder, no process. The exit code is 0 if all is so; the table
has every input in any case. It takes 20 to 30 minutes on 2 cores.
"""

import argparse
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from queue import SimpleQueue

from tests.bad_inputs.case import Case
from tests.bad_inputs.cases import CASES
from tests.bad_inputs.forked import import_libraries
from tests.bad_inputs.process import STUCK, Outcome, carry_out, shown
from tests.bad_inputs.results import Results
from tests.bad_inputs.table import table
from tests.support.tiny_model import make_model

INTRODUCTION = """\
# Bad inputs

What the program answers to inputs that it cannot use. `python -m tests.bad_inputs --out \
docs/bad_inputs.md` gives each of them to a process and writes this table; it fails if one ends with a \
traceback, takes too long, changes what existed, or leaves a file, a run folder or a process behind \
that should not be there. Two run at a time, those that start Ray one after another; the seconds \
include the imports of a program. `.` is the folder that the command was started in. Long messages are \
cut in their middle.

"""


def main() -> int:
    """Run the chosen cases; return 1 unless all are as expected."""
    options = _options()
    # What a shell has started in the background ignores Ctrl-C, and so would all commands.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cases = [c for c in CASES if options.only in c.title]
    if options.light:
        cases = [case for case in cases if not (case.heavy or case.trained)]
    base = Path(tempfile.mkdtemp(prefix="bad-", dir="/tmp"))  # a short path, for Ray's sockets
    results = Results(options.results)
    outcomes = results.of(cases)
    done = {outcome.case.title for outcome in outcomes}
    rest = [case for case in cases if case.title not in done]
    for outcome in run(rest, base, options.forked):
        results.add(outcome)
        outcomes.append(outcome)
        outcomes.sort(key=lambda one: CASES.index(one.case))
        if options.out:  # after each, so that a table is there if this is ended early
            options.out.write_text(INTRODUCTION + table(outcomes))
    if not options.out:
        print(table(outcomes))
    print(f"{shown(outcomes)}; the folders of those that are not are in {base}", file=sys.stderr)
    return int(any(outcome.faults for outcome in outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--out", type=Path, help="the file for the table")
    parser.add_argument("--only", default="", help="a part of the kind or the name of the cases")
    parser.add_argument("--light", action="store_true", help="leave out what starts Ray")
    parser.add_argument("--forked", action="store_true", help="in forks, which is faster")
    parser.add_argument(
        "--results",
        type=Path,
        help="a file of results; inputs that stand there are not given again",
    )
    return parser.parse_args()


def run(cases: Sequence[Case], base: Path, forked: bool = False) -> Iterator[Outcome]:
    """Yield what the cases lead to: two at a time, of which at most one is heavy."""
    make_model(base / "model")
    if forked:  # one at a time, because a process with threads at work cannot be forked
        import_libraries()
    if any(case.trained for case in cases):
        _print(carry_out(FIRST_RUN, -1, base))
        (base / "-01").rename(base / "trained")
    heavy = [case for case in cases if case.heavy]
    light = deque(case for case in cases if not case.heavy)
    found: SimpleQueue[Outcome] = SimpleQueue()

    def work(first: Sequence[Case]) -> None:
        for case in chain(first, _taken(light)):
            found.put(_outcome(case, base, forked))

    with ThreadPoolExecutor(1 if forked else 2) as pool:
        for first in (heavy, ()):
            pool.submit(work, first)
        for _ in cases:
            _print(outcome := found.get())
            yield outcome


def _taken(cases: deque[Case]) -> Iterator[Case]:
    with suppress(IndexError):  # another thread may have taken the last one
        while True:
            yield cases.popleft()


def _outcome(case: Case, base: Path, forked: bool) -> Outcome:
    try:
        return carry_out(case, CASES.index(case), base, forked)
    except Exception as error:  # the table is to have all other cases
        return Outcome(case, "", STUCK, 0.0, (), (f"it could not be tried: {error}",))


def _print(outcome: Outcome) -> None:
    verdict = outcome.skipped or "; ".join(outcome.faults) or "as expected"
    print(f"{outcome.case.title}: {verdict}", file=sys.stderr, flush=True)


# Not a bad input: the run that others resume with changed data. Its faults are its leftovers.
FIRST_RUN = Case("setup", "a run", ("train", "math.yaml"), "", codes=(0,), seconds=300, heavy=True)

if __name__ == "__main__":
    sys.exit(main())
