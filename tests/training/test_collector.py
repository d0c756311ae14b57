"""Sampling ahead: its overlap with updates, the weights that it uses, and its end."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from score_ray.config.loading import load
from score_ray.training.checkpoint import Checkpoint, read_progress
from score_ray.training.collector import Collector
from score_ray.types import ConfigError, LearnerLost
from tests.support.fake_roles import PROBLEMS, Coin, Inline, metrics, run

AHEAD = ["rollout.overlap=1", "learner.max_importance=2.0"]
SECONDS = 20  # until a test that hangs fails


class BothAtOnce(Coin):
    """Samples ahead, and updates, only while the other is going on too."""

    def __init__(self):
        super().__init__()
        self.both = threading.Barrier(2, timeout=SECONDS)

    def sample(self, problems, plan):
        if threading.current_thread() is not threading.main_thread():
            self.both.wait()
        yield from super().sample(problems, plan)

    def update(self, rows, advantages, iteration):
        if iteration + 1 < 4:  # nothing is sampled ahead in the last iteration
            self.both.wait()
        return super().update(rows, advantages, iteration)


def test_an_iteration_is_sampled_while_the_one_before_is_updated_on(tmp_path):
    run(tmp_path, coin=BothAtOnce(), stages=(4,), more=[*ONE_STAGE, *AHEAD])
    assert [r["stale"] for r in metrics(tmp_path)] == [0, 1, 1, 1]


ONE_STAGE = ["stages=[{name: a, iterations: 4, reward: [1, 1], kl: [0, 0]}]"]


def test_without_overlap_nothing_is_sampled_ahead(tmp_path):
    coin = run(tmp_path)
    assert {r["stale"] for r in metrics(tmp_path)} == {0}
    assert "sample" not in coin.log[coin.log.index("reference") : coin.log.index("broadcast 1")]


def test_samples_are_one_update_old_but_after_a_checkpoint_or_an_evaluation(tmp_path):
    """Stages end, and are evaluated, after 6 and 12; checkpoints are after every 5 as well."""
    run(tmp_path, more=AHEAD)
    assert [r["stale"] for r in metrics(tmp_path)] == [0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1]
    assert [r["version"] for r in metrics(tmp_path)] == list(range(1, 13))


def test_a_resumed_run_that_samples_ahead_writes_what_the_whole_run_writes(tmp_path):
    whole = run(tmp_path / "whole", more=AHEAD)
    run(tmp_path / "cut", more=AHEAD)
    path = sorted((tmp_path / "cut" / "checkpoints").iterdir())[0]
    again = run(tmp_path / "cut", saved=Checkpoint(path, read_progress(path)), more=AHEAD)
    torch.testing.assert_close(again.logits, whole.logits)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_a_learner_lost_while_the_engines_sample_ahead_costs_nothing(tmp_path):
    whole, coin = run(tmp_path / "whole", more=AHEAD), Coin()
    update = coin.update

    def dying(*args):
        if coin.log.count("update") == 8 and "restart" not in str(coin.log):
            raise LearnerLost("learner rank 1", "update", "the process died")
        return update(*args)

    coin.update = dying
    run(tmp_path / "hurt", coin=coin, more=AHEAD)
    torch.testing.assert_close(coin.logits, whole.logits)
    assert metrics(tmp_path / "hurt") == metrics(tmp_path / "whole")


class Pool:
    """Streams given lists of episodes."""

    def __init__(self, *parts):
        self.parts = parts

    def sample(self, problems, plan):
        for part in self.parts:
            yield part() if callable(part) else part


def make(pool):
    config = load(Path("configs/arithmetic.yaml"), ["rollout.problems=2", *AHEAD])
    return Collector(pool, Inline(), lambda iteration: PROBLEMS[:2], config)


def fail():
    raise ValueError("no engine")


def test_an_error_of_sampling_ahead_is_raised_where_its_episodes_are_collected():
    with make(Pool([], fail)) as collect:
        collect.begin(1)
        with pytest.raises(ValueError, match="no engine"):
            collect.wait()
        with pytest.raises(ValueError, match="no engine"):
            collect.sample(1)


def test_a_run_that_fails_does_not_wait_for_the_engines():
    began, endless = threading.Event(), iter(lambda: began.set() or [], None)
    pool = Pool()
    pool.sample = lambda problems, plan: endless
    with suppress(KeyError), make(pool) as collect:
        collect.begin(1)
        assert began.wait(SECONDS)
        raise KeyError


def test_after_a_lost_learner_the_engines_finish_before_the_loss_is_raised():
    parts = [threading.Event() for _ in range(3)]
    with suppress(LearnerLost), make(Pool(*[p.set for p in parts])) as collect:
        collect._grader.submit = lambda episodes: None
        collect.begin(1)
        raise LearnerLost("learner rank 0", "updating", "the process died")
    assert all(part.is_set() for part in parts)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["rollout.overlap=1"],
            "learner.max_importance: with rollout.overlap tokens are sampled from weights",
        ),
        (
            [*AHEAD, "rollout.share_gpus=true"],
            "rollout.overlap: engines sample while .* need GPUs of their own",
        ),
        (["rollout.overlap=2"], "rollout.overlap: Input should be less than or equal to 1"),
    ],
)
def test_an_overlap_that_cannot_work_is_named(more, message):
    with pytest.raises(ConfigError, match=message):
        load(Path("configs/arithmetic.yaml"), more)
