"""The scores that the check after a broadcast compares with, over several broadcasts."""

import re

import pytest

from score_ray.runtime.rollout_pool import Loaded
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.types import RunError
from score_ray.weights.probe import Probe


class Learner:
    """Gives the next of some scores at every broadcast."""

    def __init__(self, *scores: float) -> None:
        self.scores = iter(scores)

    def packed_weights(self, part_bytes):
        return ["part"]

    def score(self, rows):
        return [[next(self.scores)]]


class Pool:
    """Engines whose rounding is 0.01 nats off."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []

    def load_weights(self, pack, probe, send):
        self.probes.append(probe)
        return Loaded({"rollout actor 0": 0.01}, 0.0)


def compared_with(*scores: float, versions: tuple[int, ...]) -> list[float | None]:
    learner, pool = Learner(*scores), Pool()
    channel = WeightChannel(learner, pool, [(1, 2)], 0.05, 100)  # type: ignore[arg-type]
    for version in versions:
        channel.broadcast(version)
    return [probe.before[0][0] if probe.before else None for probe in pool.probes]


def test_scores_are_compared_with_those_of_the_last_broadcast_that_stood_out_from_rounding():
    compared = compared_with(-1.0, -1.01, -1.019, -1.021, -1.1, versions=(0, 1, 2, 3, 4))
    assert compared == [None, -1.0, -1.0, -1.0, -1.021]


def test_after_going_back_to_a_checkpoint_there_is_nothing_to_compare_with():
    assert compared_with(-1.0, -2.0, -1.0, -2.0, versions=(0, 1, 0, 1)) == [None, -1.0, None, -1.0]


@pytest.mark.parametrize(
    ("scores", "version", "text"),
    [
        ((-1.0, float("nan")), 1, "log-probs of the policy (nan): not finite after update 1"),
        ((-1.0, float("-inf")), 1, "log-probs of the policy (-inf): not finite after update 1"),
        ((float("nan"),), 0, "check the weights of model.path"),
    ],
)
def test_weights_that_give_no_finite_log_probs_are_not_sent(scores, version, text):
    pool = Pool()
    channel = WeightChannel(Learner(*scores), pool, [(1, 2)], 0.05, 100)  # type: ignore[arg-type]
    for number in range(version):
        channel.broadcast(number)
    with pytest.raises(RunError, match=re.escape(text)):
        channel.broadcast(version)
    assert len(pool.probes) == version
