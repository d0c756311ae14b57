import pytest

from score_ray.reporting.run_folder import RunFolder
from score_ray.training.first_attempts import (
    offline_part,
    sample_first_attempts,
    texts_of,
    with_given,
)
from score_ray.types import Attempt, Episode, Finish, Problem, RunError, SamplingPlan

PROBLEMS = [Problem(i, "q", "a") for i in range(5)]
PLAN = SamplingPlan(seed=1, samples=8, attempts=3, max_tokens=4, temperature=1.0)


class Echo:
    """A pool whose first attempts say which problem they answer."""

    def sample(self, problems, plan):
        assert (plan.samples, plan.attempts) == (1, 1)
        for p in reversed(problems):
            yield [Episode(p, 0, (Attempt((1,), (2,), (-1.0,), f"of {p.index}", Finish.STOP, 0),))]


def test_the_share_is_rounded_to_whole_problems_in_front():
    assert [p.index for p in offline_part(PROBLEMS, 0.5)] == [0, 1]
    assert offline_part(PROBLEMS, 0.0) == []
    assert offline_part(PROBLEMS, 1.0) == PROBLEMS


def test_a_problem_that_comes_twice_is_sampled_once_and_read_back(tmp_path):
    records = sample_first_attempts(Echo(), [PROBLEMS[3], PROBLEMS[0], PROBLEMS[3]], PLAN)
    folder = RunFolder(tmp_path)
    folder.write_first_attempts(records)
    assert [record["problem"] for record in records] == [0, 3]
    assert folder.first_attempts() == records
    assert texts_of(records, [PROBLEMS[3], PROBLEMS[0]]) == {0: "of 0", 3: "of 3"}


def test_a_first_attempt_is_never_given_to_another_question():
    records = sample_first_attempts(Echo(), PROBLEMS[:2], PLAN)
    with pytest.raises(RunError, match=r"b\.csv: row 9: .* a first attempt at another question"):
        texts_of(records, [Problem(1, "another q", "a", source="b.csv", row=9)])
    with pytest.raises(RunError, match="problem 4: .* no first attempt for it; the training data"):
        texts_of(records, [PROBLEMS[4]])
    with pytest.raises(RunError, match="another question"):
        texts_of(records, [Problem(0, "q ", "a")])


def test_first_attempts_of_an_older_version_are_taken_by_their_number():
    assert texts_of([{"problem": 1, "text": "of 1"}], [PROBLEMS[1]]) == {1: "of 1"}


def test_only_the_share_is_given_its_first_attempt():
    texts = {i: f"of {i}" for i in range(5)}
    given = [p.given for p in with_given(PROBLEMS, texts, 0.4)]
    assert given == ["of 0", "of 1", "", "", ""]
    assert with_given(PROBLEMS, {}, 0.0) == PROBLEMS
