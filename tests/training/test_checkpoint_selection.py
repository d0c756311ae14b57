import math

import pytest

from score_ray.config.schema import Stage
from score_ray.reporting.metrics import StepResult, step_result
from score_ray.training.checkpoint_selection import best, held_out_accuracies, training_rewards

STAGES = (
    Stage(name="one", iterations=4, reward=(0.0, 1.0), kl=(0.1, 0.1)),
    Stage(name="two", iterations=6, reward=(1.0, 0.5), bonus=10.0, kl=(0.1, 0.1)),
)
SAVED = [2, 4, 6, 8, 10]


def steps(*rewards: tuple[float, float]) -> list[StepResult]:
    records = [
        {"iteration": i, "stage": "", "train/reward_t1": t1, "train/reward_t2": t2}
        for i, (t1, t2) in enumerate(rewards)
    ]
    return [step_result(record) for record in records]


def held_out(done: int, split: str = "held_out", **accuracies: float) -> dict:
    return {"iteration": done, "split": split, **accuracies}


# The first stage has the highest numbers, which must not count.
RUN = steps(*[(1.0, 1.0)] * 4, (0.2, 0.4), (0.4, 0.8), (0.6, 0.8), (0.4, 0.4), (0.4, 0.8), (0, 0))


def test_training_reward_is_the_mean_since_the_checkpoint_before():
    # Iterations 4 and 5: .2 + .5 * .4 and .4 + .5 * .8; then 1.0 and .6; then .8 and 0.
    expected = {6: 0.6, 8: 0.8, 10: 0.4}
    assert training_rewards(RUN, SAVED, STAGES) == pytest.approx(expected)
    assert best("train_reward", RUN, [], SAVED, STAGES) == 8


def test_a_checkpoint_is_not_measured_by_another_stage():
    # The checkpoint of 6 is the first, but begins with the stage.
    assert training_rewards(RUN, [6], STAGES) == pytest.approx({6: 0.6})
    assert training_rewards(RUN, [2, 4], STAGES) == {}
    assert best("train_reward", RUN, [], [2, 4], STAGES) is None


def test_the_best_of_the_checkpoints_so_far_is_followed_as_they_are_saved():
    so_far = [best("train_reward", RUN, [], SAVED[: n + 1], STAGES) for n in range(5)]
    assert so_far == [None, None, 6, 8, 8]


def test_of_equals_the_later_one_is_best():
    even = steps(*[(0.5, 0.5)] * 10)
    assert best("train_reward", even, [], SAVED, STAGES) == 10
    evals = [held_out(done, acc_t1=0.1, acc_t2=0.5) for done in (8, 6)]
    assert best("held_out", [], evals, SAVED, STAGES) == 8


def test_a_checkpoint_without_iterations_does_not_compete():
    assert best("train_reward", RUN[:6], [], SAVED, STAGES) == 6
    assert best("train_reward", [], [], SAVED, STAGES) is None
    assert best("train_reward", RUN, [], [], STAGES) is None


def test_held_out_accuracy_of_the_last_attempt_is_compared_over_all_stages():
    evals = [
        held_out(0, acc_t1=0.9, acc_t2=0.9),  # the base model is no checkpoint
        held_out(4, acc_t1=0.1, acc_t2=0.7),
        held_out(8, acc_t1=0.8, acc_t2=0.6),
        held_out(10, "test", acc_t1=0.9, acc_t2=0.9),
        held_out(9, acc_t1=0.9, acc_t2=0.9),  # not saved
    ]
    assert held_out_accuracies(evals, SAVED, 2) == {4: 0.7, 8: 0.6}
    assert best("held_out", [], evals, SAVED, STAGES) == 4
    assert best("held_out", RUN, [], SAVED, STAGES) is None


def test_the_last_attempt_is_the_last_one_trained_and_evaluated():
    evals = [held_out(4, acc_t1=0.1, acc_t2=0.2, acc_t3=0.3)]
    accuracies = [held_out_accuracies(evals, SAVED, attempts)[4] for attempts in (1, 2, 3, 4)]
    assert accuracies == [0.1, 0.2, 0.3, 0.3]


def test_without_a_measure_the_newest_is_taken():
    assert best("last", RUN, [], SAVED, STAGES) == 10
    assert best("last", RUN, [], [], STAGES) is None


def test_failed_measurements_do_not_choose_the_checkpoint():
    """Iteration 7 measured no first attempt; of checkpoint 8 half the second attempts failed."""
    run = steps(*[(0.0, 0.0)] * 4, (0.2, 0.4), (0.4, 0.8), (0.6, 0.8), (math.nan, 0.9))
    assert training_rewards(run, [6, 8], STAGES) == pytest.approx({6: 0.6, 8: 1.0})
    nothing = steps(*[(0.0, 0.0)] * 4, (math.nan, 0.4), (0.4, math.nan))
    assert training_rewards(nothing, [6], STAGES) == {}
    evals = [
        held_out(4, acc_t1=0.1, acc_t2=0.7),
        held_out(8, acc_t1=0.1, acc_t2=0.4, failed_t1=0.0, failed_t2=0.5),
    ]
    assert held_out_accuracies(evals, SAVED, 2) == {4: 0.7, 8: 0.8}
