"""A third of the bad inputs that need no process of their own, each in a fork of the tests'.

`python -m tests.bad_inputs` tries them all, each in a process of its own.
"""

from pathlib import Path

import pytest

from tests.bad_inputs.case import Case
from tests.bad_inputs.cases import CASES
from tests.bad_inputs.forked import import_libraries
from tests.bad_inputs.process import carry_out
from tests.support.tiny_model import make_model

QUICK = [case for case in CASES if not case.alone][::3]  # of every kind, in some 20 seconds


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    make_model(folder / "model")
    import_libraries()
    return folder


@pytest.mark.parametrize("case", QUICK, ids=lambda case: f"{case.kind}: {case.name}")
def test_a_bad_input_is_answered_clearly_and_leaves_nothing(case: Case, base: Path):
    outcome = carry_out(case, CASES.index(case), base, forked=True)
    assert not outcome.faults, outcome.message


def test_no_two_inputs_have_the_same_name():
    names = [(case.kind, case.name) for case in CASES]
    assert len(names) == len(set(names))
