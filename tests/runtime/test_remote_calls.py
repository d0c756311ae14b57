"""Deadlines that are learned, and replacements that are counted."""

import pytest

from score_ray.runtime.remote_calls import STARTING, RemoteCalls, Retries
from score_ray.types import LearnerLost, ProcessLost, RunError


def test_the_first_call_of_a_kind_has_the_start_deadline_and_later_ones_grace_over_the_slowest():
    calls = RemoteCalls(start=600.0, grace=60.0)
    assert calls.allowed("update", work=100) == 600.0
    calls.learn("update", 5.0, work=100)
    calls.learn("update", 10.0, work=100)
    calls.learn("update", 1.0, work=100)
    assert calls.allowed("update", work=100) == 70.0
    assert calls.allowed("update", work=300) == 90.0
    assert calls.allowed("score") == 600.0


def test_a_start_always_has_the_start_deadline():
    calls = RemoteCalls(start=600.0, grace=60.0)
    calls.learn(STARTING, 5.0)
    assert calls.allowed(STARTING) == 600.0


def test_a_late_process_is_named_with_what_it_was_doing_and_for_how_long():
    late = RemoteCalls(600.0, 60.0, LearnerLost).late("learner rank 3", "updating")
    assert isinstance(late, LearnerLost)
    assert str(late) == "learner rank 3: no sign of life for 600 s while updating"


def test_retries_end_in_an_error_that_names_the_last_loss():
    retries, lost = Retries(2), ProcessLost("rollout actor 1", "sampling", "the process died")
    retries.spend(lost)
    retries.refill()
    retries.spend(lost)
    retries.spend(lost)
    with pytest.raises(RunError, match="rollout actor 1: the process died while sampling"):
        retries.spend(lost)
