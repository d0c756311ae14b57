"""Continuing a table of bad inputs, and inputs that cannot be made."""

import time
from dataclasses import replace

from tests.bad_inputs import __main__ as program
from tests.bad_inputs.case import Case
from tests.bad_inputs.process import Outcome
from tests.bad_inputs.results import Results

FIRST = Case("data", "one", ("train", "a.yaml"), "says this")
SECOND = Case("data", "two", ("train", "a.yaml"), "says that")


def outcome(case: Case) -> Outcome:
    return Outcome(case, "error: é", 1, 2.5, ("runs",), ("left behind: runs",))


def test_outcomes_are_read_as_they_were_written(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    assert results.of([FIRST, SECOND]) == []
    results.add(outcome(SECOND))
    results.add(outcome(FIRST))
    assert Results(tmp_path / "r.jsonl").of([FIRST, SECOND]) == [outcome(FIRST), outcome(SECOND)]
    assert Results(None).of([FIRST]) == []


def test_a_case_that_expects_something_else_now_has_no_outcome(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    results.add(outcome(FIRST))
    assert results.of([replace(FIRST, says="says more")]) == []


def test_every_case_has_an_outcome_and_at_most_one_heavy_one_runs_at_a_time(tmp_path, monkeypatch):
    running: list[Case] = []
    at_once = []

    def carry_out(case, number, base, forked):
        running.append(case)
        time.sleep(0.01)
        at_once.append([one.heavy for one in running])
        running.remove(case)
        if case.name == "9":
            raise OSError("no such tool")
        return outcome(case)

    cases = [Case("data", str(n), (), "", heavy=n % 3 == 0) for n in range(20)]
    monkeypatch.setattr(program, "carry_out", carry_out)
    monkeypatch.setattr(program, "CASES", cases)
    monkeypatch.setattr(program, "make_model", lambda folder: None)
    found = {one.case.name: one.faults for one in program.run(cases, tmp_path)}
    assert set(found) == {str(n) for n in range(20)}
    assert found["9"] == ("it could not be tried: no such tool",)
    assert max(map(sum, at_once)) == 1
    assert max(map(len, at_once)) == 2
