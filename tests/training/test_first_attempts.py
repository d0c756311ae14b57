from score_ray.reporting.run_folder import RunFolder
from score_ray.training.first_attempts import (
    offline_part,
    sample_first_attempts,
    with_given,
)
from score_ray.types import Attempt, Episode, Finish, Problem, SamplingPlan

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
    texts = sample_first_attempts(Echo(), [PROBLEMS[3], PROBLEMS[0], PROBLEMS[3]], PLAN)
    folder = RunFolder(tmp_path)
    folder.write_first_attempts(texts)
    assert folder.first_attempts() == texts == {0: "of 0", 3: "of 3"}


def test_only_the_share_is_given_its_first_attempt():
    texts = {i: f"of {i}" for i in range(5)}
    given = [p.given for p in with_given(PROBLEMS, texts, 0.4)]
    assert given == ["of 0", "of 1", "", "", ""]
    assert with_given(PROBLEMS, {}, 0.0) == PROBLEMS
