"""The batch of each learning method, on four episodes whose right answers are known by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from score_ray.algorithm.batch import row_of
from score_ray.algorithm.objective import RewardCoefficients
from score_ray.algorithm.training_batch import GradedBatch, outcome, pairs, reinforce, star
from score_ray.config.loading import load
from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Problem, Verdict

RECIPE = "configs/arithmetic.yaml"
SECOND = RewardCoefficients((0.0, 1.0), 0.0, (0.0, 0.0))  # the tokens of the second attempt
PLUS = ("i_to_c", "c_to_c")


def attempt(prompt: tuple[int, ...], token: int, finish: Finish = Finish.STOP) -> Attempt:
    return Attempt(prompt, (token, 0), (-0.5, -0.5), str(token), finish, 3)


def episode(problem: int, sample: int, first: int, second: int, finish=Finish.STOP):
    """The prompt is 90 + problem, the correction turn 80, and token 7 is right."""
    one = attempt((90 + problem,), first)
    two = attempt((90 + problem, first, 0, 80), second, finish)
    verdicts = [Verdict.CORRECT if t == 7 else Verdict.WRONG for t in (first, second)]
    return GradedEpisode.by_verdict(
        Episode(Problem(problem, "q", "7"), sample, (one, two)), verdicts
    )


def graded(*episodes: GradedEpisode, samples: int = 2) -> GradedBatch:
    rows = [row_of(g.episode) for g in episodes]
    return GradedBatch(episodes, rows, np.zeros((len(rows), 2)), samples)


FIXED, COPIED, BROKEN, KEPT = (
    episode(0, 0, 4, 7),  # wrong, then right
    episode(0, 1, 4, 4),  # wrong, copied
    episode(1, 0, 7, 4),  # right, then wrong
    episode(1, 1, 7, 7),  # right twice
)
ALL = graded(FIXED, COPIED, BROKEN, KEPT)


def tokens(batch) -> list[tuple[int, ...]]:
    return [row.token_ids for row in batch.rows]


def test_outcomes_are_named_by_the_first_and_the_last_attempt():
    assert [outcome(g) for g in ALL.episodes] == ["i_to_c", None, None, "c_to_c"]


def test_star_keeps_corrected_episodes_and_with_plus_those_that_stayed_right():
    assert tokens(star(ALL, SECOND, ("i_to_c",))) == [(90, 4, 0, 80, 7, 0)]
    batch = star(ALL, SECOND, PLUS)
    assert tokens(batch) == [(90, 4, 0, 80, 7, 0), (91, 7, 0, 80, 7, 0)]
    assert batch.advantages.tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_star_without_an_episode_to_keep_is_a_row_with_advantages_of_0():
    batch = star(graded(COPIED, BROKEN), SECOND, PLUS)
    assert tokens(batch) == [COPIED.episode.token_ids]
    assert batch.advantages.tolist() == [[0.0, 0.0]]


def test_pairs_follow_a_wrong_first_attempt_by_a_right_answer_to_its_problem():
    """Both wrong firsts of problem 0 get the 7 that sample 0 found; problem 1 has no wrong one."""
    batch = pairs(ALL, SECOND, ("i_to_c",))
    assert tokens(batch) == [(90, 4, 0, 80, 7, 0)] * 2
    assert [row.turn_ids for row in batch.rows] == [(0, 1, 1, 0, 2, 2)] * 2
    assert batch.advantages.tolist() == [[0.0, 1.0]] * 2


def test_pairs_with_plus_follow_a_right_first_attempt_by_another_samples_right_answer():
    batch = pairs(ALL, SECOND, PLUS)
    assert tokens(batch)[2:] == [(91, 7, 0, 80, 7, 0)] * 2
    alone = graded(BROKEN, samples=1)  # its only right answer is that first attempt itself
    assert not pairs(alone, SECOND, PLUS).advantages.any()


@pytest.mark.parametrize("imitate", [star, pairs])
def test_rows_to_imitate_have_no_sampled_log_probs(imitate):
    for row in imitate(ALL, SECOND, PLUS).rows:
        assert all(math.isnan(x) for x in row.sampled_logprobs)


def test_rows_to_reinforce_keep_their_sampled_log_probs():
    assert reinforce(ALL, RewardCoefficients((1.0, 1.0), 0.0, (0.0, 0.0)), ()).rows is ALL.rows


def test_pairs_do_not_imitate_an_answer_that_was_cut():
    cut = graded(episode(0, 0, 4, 7, Finish.LENGTH), COPIED)
    assert not pairs(cut, SECOND, PLUS).advantages.any()


def test_reinforce_gives_every_episode_its_advantage():
    """Problem 0: shaped_2 is 1 + 10 and 0, so +-11. Problem 1: -10 and 1; first attempts alike."""
    batch = reinforce(ALL, RewardCoefficients((1.0, 1.0), 10.0, (0.0, 0.0)), ())
    assert tokens(batch) == [g.episode.token_ids for g in ALL.episodes]
    assert batch.advantages.tolist() == [[0, 11], [0, -11], [0, -11], [0, 11]]


@pytest.mark.parametrize(
    ("reward", "bonus", "expected"),
    [
        ("[0, 1]", 0, [[0, 1], [0, -1], [0, -1], [0, 1]]),  # Stage I
        ("[1, 1]", 10, [[0, 11], [0, -11], [0, -11], [0, 11]]),  # Stage II
        ("[1, 1]", 0, [[0, 1], [0, -1], [0, -1], [0, 1]]),  # plain multi-turn RL
        ("[1, 0]", 0, [[0, 0]] * 4),  # the first attempt alone: no sample differs in it
    ],
)
def test_advantages_follow_the_coefficients_of_the_stage(reward, bonus, expected):
    overrides = [f"stages.1.reward={reward}", f"stages.1.bonus={bonus}", "stages.1.kl=[0, 0]"]
    stage = load(Path(RECIPE), overrides).stages[1]
    coefficients = RewardCoefficients(stage.reward, stage.bonus, stage.kl)
    assert reinforce(ALL, coefficients, stage.keep).advantages.tolist() == expected


ERROR, TIMEOUT = Verdict.GRADER_ERROR, Verdict.TIMEOUT


def with_verdicts(g: GradedEpisode, *verdicts: Verdict) -> GradedEpisode:
    return GradedEpisode.by_verdict(g.episode, verdicts)


@pytest.mark.parametrize("failure", [ERROR, TIMEOUT])
def test_a_failed_measurement_has_no_advantage_and_is_in_no_baseline(failure):
    """Without a bonus: problem 0 has one first attempt left; problem 1 has both of all."""
    failed = with_verdicts(FIXED, failure, Verdict.CORRECT)
    batch = reinforce(
        graded(failed, COPIED, BROKEN, KEPT), RewardCoefficients((1.0, 1.0), 0.0, (0.0, 0.0)), ()
    )
    assert tokens(batch) == [g.episode.token_ids for g in ALL.episodes]
    assert batch.advantages.tolist() == [[0, 1], [0, -1], [0, -1], [0, 1]]


def test_with_a_bonus_a_failed_first_attempt_takes_the_gain_of_the_second():
    """Problem 1 alone is left to learn from, -10 against 1; 2 of 4 learn, so it counts twice."""
    failed = with_verdicts(FIXED, ERROR, Verdict.CORRECT)
    batch = reinforce(
        graded(failed, COPIED, BROKEN, KEPT), RewardCoefficients((1.0, 1.0), 10.0, (0.0, 0.0)), ()
    )
    assert batch.advantages.tolist() == [[0, 0], [0, 0], [0, -22], [0, 22]]


def test_a_kl_that_is_not_finite_stays_visible_beside_a_failed_measurement():
    batch = graded(with_verdicts(FIXED, ERROR, Verdict.CORRECT), COPIED, BROKEN, KEPT)
    batch.kl[3, 1] = math.nan
    coefficients = RewardCoefficients((1.0, 1.0), 0.0, (0.1, 0.1))
    assert np.isnan(reinforce(batch, coefficients, ()).advantages).any()


def test_an_episode_with_a_failed_measurement_is_not_imitated():
    for verdicts in ((ERROR, Verdict.CORRECT), (Verdict.WRONG, TIMEOUT), (TIMEOUT, ERROR)):
        failed = with_verdicts(FIXED, *verdicts)
        assert outcome(failed) is None
        assert not star(graded(failed, COPIED), SECOND, PLUS).advantages.any()
        assert not pairs(graded(failed, samples=1), SECOND, PLUS).advantages.any()


def test_pairs_follow_no_first_attempt_whose_measurement_failed():
    """Only the other wrong first attempt gets the right answer of the first sample."""
    failed = with_verdicts(FIXED, ERROR, Verdict.CORRECT)
    other = episode(0, 1, 5, 4)
    assert tokens(pairs(graded(failed, other), SECOND, PLUS)) == [(90, 5, 0, 80, 7, 0)]
