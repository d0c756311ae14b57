import math

import pytest

from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Problem, Verdict


def attempt(prompt, completion=(9,)):
    return Attempt(prompt, completion, (-1.0,) * len(completion), "", Finish.STOP, 0)


FAILED = {Verdict.TIMEOUT, Verdict.GRADER_ERROR}


def test_only_correct_is_rewarded_and_a_failed_measurement_has_no_reward():
    rewards = {v: v.reward for v in Verdict if v not in FAILED}
    assert {v for v, reward in rewards.items() if reward == 1.0} == {Verdict.CORRECT}
    assert {reward for v, reward in rewards.items() if v is not Verdict.CORRECT} == {0.0}
    assert all(math.isnan(v.reward) for v in FAILED)
    assert {v for v in Verdict if not v.is_measured} == FAILED


def test_an_episode_tells_which_of_its_attempts_were_measured():
    episode = Episode(Problem(0, "", ""), 0, (attempt((1, 2)), attempt((1, 2, 9, 4))))
    found = GradedEpisode.by_verdict(episode, [Verdict.TIMEOUT, Verdict.WRONG])
    assert found.is_measured == (False, True)


def test_an_attempt_needs_a_log_prob_for_every_token():
    with pytest.raises(ValueError, match="1 log-probs for 2"):
        Attempt((1,), (2, 3), (-1.0,), "", Finish.STOP, 0)
    with pytest.raises(ValueError, match="at least one completion token"):
        attempt((1,), ())


def test_an_episode_is_one_row_of_tokens():
    episode = Episode(Problem(0, "", ""), 0, (attempt((1, 2)), attempt((1, 2, 9, 4))))
    assert episode.token_ids == (1, 2, 9, 4, 9)


def test_an_attempt_that_does_not_continue_the_one_before_is_refused():
    with pytest.raises(ValueError, match="problem 7, sample 3"):
        Episode(Problem(7, "", ""), 3, (attempt((1, 2)), attempt((1, 2, 8, 4))))


def test_every_attempt_needs_a_verdict():
    episode = Episode(Problem(0, "", ""), 0, (attempt((1,)),))
    with pytest.raises(ValueError, match="0 verdicts and 0 rewards for 1 attempts"):
        GradedEpisode(episode, (), ())
    with pytest.raises(ValueError, match="1 verdicts and 2 rewards for 1 attempts"):
        GradedEpisode(episode, (Verdict.WRONG,), (0.0, 1.0))


def test_rewards_by_verdict_are_1_for_correct_alone():
    episode = Episode(Problem(0, "", ""), 0, (attempt((1, 2)), attempt((1, 2, 9, 4))))
    found = GradedEpisode.by_verdict(episode, [Verdict.TRUNCATED, Verdict.CORRECT])
    assert found.rewards == (0.0, 1.0)


@pytest.mark.parametrize(
    ("verdict", "after_a_cut"),
    [
        (Verdict.CORRECT, Verdict.CORRECT),
        (Verdict.WRONG, Verdict.TRUNCATED),
        (Verdict.NO_ANSWER, Verdict.TRUNCATED),
        (Verdict.TIMEOUT, Verdict.TIMEOUT),
        (Verdict.GRADER_ERROR, Verdict.GRADER_ERROR),
    ],
)
def test_a_cut_attempt_is_truncated_if_it_is_wrong_or_has_no_answer(verdict, after_a_cut):
    assert verdict.after(Finish.LENGTH) is after_a_cut
    assert verdict.after(Finish.STOP) is verdict
