import math

import pytest

from score_ray.config.schema import Stage
from score_ray.reporting.alarms import WINDOW, Alarms, accuracy, rewarded_attempts, standard_error
from score_ray.reporting.metrics import StepResult, step_result

STAGES = (
    Stage(name="one", iterations=60, reward=(0.0, 1.0), kl=(0.1, 0.01)),
    Stage(name="two", iterations=60, reward=(1.0, 1.0), bonus=10.0, kl=(0.01, 0.01)),
)
# SmolLM2-135M on sums in words, 15 iterations a stage: of 32 episodes, right at the first and
# at the second attempt, changed, first and second attempt cut; then the KL of both.
REAL = """\
7 5 25 17 17 0.00 0.00
9 10 17 19 13 0.08 0.01
17 15 19 17 13 0.20 0.10
7 8 17 16 11 0.25 0.00
8 8 14 15 12 0.44 0.26
9 13 17 20 11 0.23 0.66
12 15 16 18 11 0.41 0.66
9 10 27 21 9 0.29 1.02
7 9 18 18 10 0.48 0.55
6 12 22 22 8 0.17 1.84
16 25 20 15 8 0.55 1.77
8 13 21 24 7 0.55 1.21
7 21 24 21 10 0.40 2.77
10 20 21 20 11 0.42 2.17
6 16 23 25 11 0.88 2.92
6 14 27 23 6 0.68 3.19
8 22 25 20 2 0.94 3.26
7 24 29 20 2 0.76 3.09
11 26 26 23 10 1.50 3.40
7 25 27 24 12 1.60 3.56
4 21 25 25 7 0.47 3.30
7 12 28 25 6 1.32 5.34
14 27 22 20 3 1.22 2.46
7 23 27 26 9 0.93 3.69
14 21 23 19 8 0.60 3.79
12 26 27 26 7 1.11 3.07
21 23 14 16 9 3.81 2.56
16 21 17 17 13 3.32 2.89
18 25 17 21 4 2.20 2.74
20 23 18 16 9 2.48 2.05"""


def record(iteration: int = 0, stage: str = "one", **other: float) -> dict:
    healthy = {
        "iteration": iteration,
        "stage": stage,
        "train/acc_t1": 0.4,
        "train/acc_t2": 0.5,
        "train/changed": 0.4,
        "train/truncated_t1": 0.01,
        "train/truncated_t2": 0.01,
        "train/reward_t1": 0.4,
        "train/reward_t2": 0.5,
        "train/flat_t1": 0.5,
        "train/flat_t2": 0.5,
        "kl/t1": 0.1,
        "kl/t2": 0.3,
        "loss": -0.2,
        "grad_norm": 1.0,
        "verdict/correct_t1": 102,
        "verdict/wrong_t1": 154,
    }
    return healthy | {name.replace("__", "/"): value for name, value in other.items()}


def kinds(alarms: Alarms, *records: dict) -> list[str]:
    return [alarm.kind for alarm in alarms.replay(map(step_result, records))]


def step(iteration: int = 0, stage: str = "one", **other: float) -> StepResult:
    return step_result(record(iteration, stage, **other))


def bad_for(alarms: Alarms, iterations: int, **bad) -> list[str]:
    return kinds(alarms, *(record(i, **bad) for i in range(iterations)))


def real_records() -> list[dict]:
    names = ("acc_t1", "acc_t2", "changed", "truncated_t1", "truncated_t2")
    records = []
    for iteration, line in enumerate(REAL.splitlines()):
        *counts, kl_1, kl_2 = map(float, line.split())
        shares = {f"train__{n}": c / 32 for n, c in zip(names, counts, strict=True)}
        verdicts = {"verdict__correct_t1": counts[0], "verdict__wrong_t1": 32 - counts[0]}
        stage = "one" if iteration < 15 else "two"
        records.append(record(iteration, stage, **shares, **verdicts, kl__t1=kl_1, kl__t2=kl_2))
    return records


def test_a_noisy_run_that_learns_raises_only_what_it_suffers_from():
    found = kinds(Alarms(STAGES), *real_records())
    assert set(found) == {"truncation_t1", "truncation_t2"}
    calm = {"train/truncated_t1": 0.0, "train/truncated_t2": 0.0}
    assert kinds(Alarms(STAGES), *(r | calm for r in real_records())) == []


def test_an_alarm_is_raised_once_and_again_after_a_window_without_it():
    alarms = Alarms(STAGES)
    assert bad_for(alarms, WINDOW - 1, train__changed=0.01) == []
    (alarm,) = alarms.watch(step(9, train__changed=0.01))
    assert alarm.kind == "copy"
    assert "1.0% differ" in alarm.message
    assert "50.0% are correct" in alarm.message
    assert bad_for(alarms, 30, train__changed=0.01) == []
    # Two good ones lift the mean over the threshold, for as long as they are in the window.
    assert bad_for(alarms, 2, train__changed=0.4) == []
    assert bad_for(alarms, 20, train__changed=0.01) == []
    assert bad_for(alarms, 20, train__changed=0.4) == []
    assert bad_for(alarms, 10, train__changed=0.01) == ["copy"]


def test_another_stage_begins_anew():
    alarms = Alarms(STAGES)
    assert bad_for(alarms, 10, train__changed=0.0) == ["copy"]
    assert bad_for(alarms, 9, stage="two", train__changed=0.0) == []
    assert bad_for(alarms, 1, stage="two", train__changed=0.0) == ["copy"]


def test_repeating_an_answer_that_is_right_is_no_copy():
    assert bad_for(Alarms(STAGES), 20, train__changed=0.0, train__acc_t2=0.95) == []
    alone = [{k: v for k, v in record(i).items() if not k.endswith("t2")} for i in range(20)]
    assert kinds(Alarms(STAGES), *(r | {"train/changed": 0.0} for r in alone)) == []


def test_sandbagging_needs_a_fall_and_a_rise():
    before = [record(i) for i in range(10)]
    for t1, t2, expected in [
        (0.2, 0.6, ["sandbagging_t1"]),  # from .4 / .5: fall .2, gain from +.1 to +.4
        (0.2, 0.3, []),  # both fall
        (0.4, 0.9, []),  # what the first stage is for
    ]:
        after = [record(i, train__acc_t1=t1, train__acc_t2=t2) for i in range(10, 20)]
        assert kinds(Alarms(STAGES), *before, *after) == expected


def test_a_fall_as_far_as_in_the_paper_is_no_sandbagging_however_many_episodes_show_it():
    many = {"verdict/correct_t1": 10_000, "verdict/wrong_t1": 10_000}
    for fall, expected in [(0.045, []), (0.055, ["sandbagging_t1"])]:
        after = {"train__acc_t1": 0.4 - fall, "train__acc_t2": 0.6}
        records = [record(i) for i in range(10)] + [record(i, **after) for i in range(10, 20)]
        assert kinds(Alarms(STAGES), *(r | many for r in records)) == expected


def test_the_message_on_sandbagging_has_the_numbers():
    alarms = Alarms(STAGES)
    alarms.replay(step(i) for i in range(10))
    (alarm,) = alarms.replay(step(i, train__acc_t1=0.2, train__acc_t2=0.6) for i in range(10, 20))
    # Raised with the 6th: then a fall of .12 is beyond the scatter of the window (3 * .037).
    assert "+28.0%, from +10.0%" in alarm.message
    assert "28.0% correct over 10 iterations, 40.0% at the run's start" in alarm.message


def test_a_fall_within_the_noise_of_few_episodes_is_no_sandbagging():
    few = {"verdict/correct_t1": 3, "verdict/wrong_t1": 1}
    records = [record(i) for i in range(10)]
    records += [record(i, train__acc_t1=0.2, train__acc_t2=0.6) for i in range(10, 20)]
    assert kinds(Alarms(STAGES), *records) == ["sandbagging_t1"]
    assert kinds(Alarms(STAGES), *(r | few for r in records)) == []


def test_a_third_attempt_is_watched_as_well():
    stage = Stage(name="one", iterations=60, reward=(0.0, 0.0, 1.0), kl=(0.1, 0.1, 0.1))
    third = {"train__acc_t3": 0.5, "kl__t3": 0.1}
    assert bad_for(Alarms([stage]), 20, **third) == []
    assert bad_for(Alarms([stage]), 10, **third, train__truncated_t3=0.3) == ["truncation_t3"]
    assert bad_for(Alarms([stage]), 3, **third | {"kl__t3": 21.0}) == ["kl_t3"]
    assert bad_for(Alarms([stage]), 10, **third, train__flat_t3=1.0) == ["flat_reward"]
    alarms = Alarms([stage])
    assert bad_for(alarms, 10, **third) == []
    worse = {"train__acc_t2": 0.2, "train__acc_t3": 0.6}
    assert bad_for(alarms, 10, **third | worse) == ["sandbagging_t2"]


def test_the_standard_error_is_of_episodes_or_of_iterations():
    even = [step(i, train__acc_t1=0.5) for i in range(10)]
    assert standard_error(even, accuracy(1)) == pytest.approx(math.sqrt(0.25 / 2560))
    # Ten values of .3 and .7 have a variance of 10 * .04 / 9, their mean a tenth of that.
    uneven = [step(i, train__acc_t1=0.3 + 0.4 * (i % 2)) for i in range(10)]
    assert standard_error(uneven, accuracy(1)) == pytest.approx(math.sqrt(0.04 / 9))


def test_a_kl_raises_an_alarm_beyond_the_limit_or_after_a_jump():
    alarms = Alarms(STAGES)
    assert bad_for(alarms, 2, kl__t1=21.0) == []
    (alarm,) = alarms.watch(step(2, kl__t1=21.0))
    assert alarm.kind == "kl_t1"
    assert "21.0 nats" in alarm.message
    assert bad_for(Alarms(STAGES, kl_limit=50.0), 10, kl__t1=21.0) == []
    for was, nats, expected in [(1.5, 7.4, []), (1.5, 7.6, ["kl_t2"]), (0.0, 4.9, [])]:
        alarms = Alarms(STAGES)
        assert bad_for(alarms, 10, kl__t2=was) == []
        assert bad_for(alarms, 3, stage="two", kl__t2=nats) == expected


def test_the_message_on_a_mismatch_has_its_worst_token():
    far = {"mismatch__kl": 0.06, "mismatch__sampled_max_abs": 2.5}
    assert bad_for(Alarms(STAGES), 2, **far) == []
    (alarm,) = Alarms(STAGES).replay(step(i, **far) for i in range(3))
    assert alarm.kind == "mismatch"
    assert "0.060 nats per token" in alarm.message
    assert "by up to 2.5" in alarm.message
    assert bad_for(Alarms(STAGES), 20, **(far | {"mismatch__kl": 0.04})) == []


def test_flat_rewards_matter_where_the_stage_rewards():
    assert bad_for(Alarms(STAGES), 10, train__flat_t1=1.0) == []
    assert bad_for(Alarms(STAGES), 10, train__flat_t2=0.99) == ["flat_reward"]
    assert bad_for(Alarms(STAGES), 10, stage="two", train__flat_t2=0.99) == []
    both = {"train__flat_t1": 0.97, "train__flat_t2": 0.99}
    assert bad_for(Alarms(STAGES), 10, stage="two", **both) == ["flat_reward"]
    (alarm,) = Alarms(STAGES).replay(step(i, stage="two", **both) for i in range(10))
    assert "97.0% of groups" in alarm.message
    assert "t1 0.400, t2 0.500" in alarm.message


def test_attempts_are_rewarded_by_a_coefficient_or_a_bonus_and_not_where_they_are_imitated():
    assert [rewarded_attempts(stage) for stage in STAGES] == [(2,), (1, 2)]
    bonus_alone = Stage(name="b", iterations=1, reward=(0.0, 0.0), bonus=1.0, kl=(0.0, 0.0))
    assert rewarded_attempts(bonus_alone) == (1, 2)
    star = Stage(name="star", iterations=1, learn="star", reward=(0.0, 1.0), kl=(0.0, 0.0))
    assert rewarded_attempts(star) == ()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_raises_an_alarm_at_once(value):
    (alarm,) = Alarms(STAGES).watch(step(7, grad_norm=value))
    assert alarm.kind == "non_finite"
    assert f"grad_norm is {value} in iteration 7" in alarm.message


def test_a_metric_that_is_not_finite_raises_no_other_alarm():
    nothing = dict.fromkeys(
        ["train__acc_t1", "train__acc_t2", "train__changed", "kl__t1"], math.nan
    )
    assert bad_for(Alarms(STAGES), 30, **nothing) == []
    assert kinds(Alarms(STAGES), *({"iteration": i, "stage": "one"} for i in range(30))) == []


def test_a_resumed_run_raises_the_alarms_of_the_whole_run():
    records = [step_result(record) for record in real_records()]
    for cut in range(len(records)):
        resumed = Alarms(STAGES)
        before = resumed.replay(records[:cut])
        assert before + resumed.replay(records[cut:]) == Alarms(STAGES).replay(records)


@pytest.mark.parametrize("kind", ["grader_error", "timeout"])
def test_measurements_that_fail_raise_an_alarm_for_each_way_and_say_what_to_do(kind):
    """256 first attempts; 6 failures are 2.3 %, 5 are 1.95 %."""
    failing = {f"verdict__{kind}_t1": 6, "verdict__wrong_t1": 148}
    assert bad_for(Alarms(STAGES), 2, **failing) == []
    (alarm,) = Alarms(STAGES).replay(step(i, **failing) for i in range(3))
    assert alarm.kind == kind
    assert f"2.3% of the attempts have the verdict {kind} over 3 iterations" in alarm.message
    remedy = "grading.reward" if kind == "grader_error" else "Raise grading.deadline"
    assert remedy in alarm.message
    fewer = {f"verdict__{kind}_t1": 5, "verdict__wrong_t1": 149}
    assert bad_for(Alarms(STAGES), 20, **fewer) == []


def test_a_grader_that_begins_to_fail_is_not_taken_for_sandbagging():
    """Of the measured first attempts .4 are right before and after; half of them fail."""
    failing = {"train__acc_t1": 0.2, "train__acc_t2": 0.5, "verdict__correct_t1": 51,
               "verdict__wrong_t1": 77, "verdict__grader_error_t1": 128}  # fmt: skip
    after = [record(i, **failing) for i in range(10, 20)]
    assert kinds(Alarms(STAGES), *(record(i) for i in range(10)), *after) == ["grader_error"]
