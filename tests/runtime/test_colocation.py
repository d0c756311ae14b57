"""Whole runs on shared GPUs with fakes: which role holds the GPU, and when, whoever dies."""

from dataclasses import dataclass, field

import pytest

from score_ray.runtime.colocation import GpuSharing
from score_ray.runtime.rollout_pool import Loaded
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.types import LearnerLost
from score_ray.weights.backend import IPC, OBJECT_STORE
from tests.support.fake_roles import PROBLEMS, Coin, run

PROBE = [(1, 2, 3)]
LOST = LearnerLost("learner rank 0", "updating", "the process died")


@dataclass
class Gpu:
    """The contents of its memory, the log of what was done, and what must not be there together."""

    log: list[str] = field(default_factory=list)
    there: set[str] = field(default_factory=lambda: {"weights", "cache"})  # engines start first
    lost: set[str] = field(default_factory=set)  # actions of the learner that it dies of, once

    def now(self, action: str, takes: tuple[str, ...] = (), leaves: tuple[str, ...] = ()) -> None:
        self.log.append(action)
        self.there = (self.there | set(takes)) - set(leaves)
        assert not {"learner", "cache"} <= self.there, action
        if {"learner", "weights"} <= self.there:
            assert action in ("load", "hand over"), action
        if action in self.lost:
            self.lost.remove(action)
            raise LOST


class Engines(Coin):
    """The pool: an engine that takes the memory that a call needs, as VllmEngine does."""

    def __init__(self, gpu: Gpu, make_room):
        super().__init__()
        self.gpu, self.make_room = gpu, make_room
        self.deaths: set[str] = set()  # actions that an engine dies of, once
        self.dies_with = ""  # an action of the learner's that is its last too

    def sleep(self):
        self.replace_if_dead("engines sleep")
        self.gpu.now("engines sleep", leaves=("weights", "cache"))

    def sample(self, problems, plan):
        self.gpu.now("sample", takes=("weights", "cache"))
        self.replace_if_dead("sample")
        yield from super().sample(problems, plan)

    def load_weights(self, pack, probe, send=None):
        if send:
            self.gpu.now("load", takes=("weights",))
            send(None)
        else:
            pack()
            self.gpu.now("load", takes=("weights",))
        self.replace_if_dead("load")
        self.make_room()
        self.gpu.now("probe", takes=("weights", "cache"))
        Coin.broadcast(self, probe.version)
        return Loaded({"rollout actor 0": 0.0}, 0.0)

    def replace_if_dead(self, action):
        with_rank = self.gpu.log[-2:] == [self.dies_with, "ranks end"]
        if action in self.deaths or with_rank:
            self.deaths.discard(action)
            self.make_room()
            self.gpu.now("new engine", takes=("weights", "cache"))


class Ranks:
    """The learner's ranks, which hold no memory of a GPU while they sleep."""

    def __init__(self, gpu: Gpu, coin: Coin):
        self.gpu, self.coin = gpu, coin
        self.gpu.now("ranks start", takes=("learner",))

    def sleep(self):
        self.gpu.now("learner sleeps", leaves=("learner",))

    def wake(self):
        self.gpu.now("learner wakes", takes=("learner",))

    def close(self):
        self.gpu.now("ranks end", leaves=("learner",))

    def restart(self, lost):
        self.gpu.now("restart", takes=("learner",))
        self.coin.restart(lost)

    def take_restarts(self):
        return 0

    def packed_weights(self, part_bytes):
        return self.work("pack", [])

    def send(self, backend, to, buffer_bytes):
        return self.work("hand over", {})

    def score(self, rows):
        return self.work("expect", [[0.0, 0.0]])

    def work(self, action, result):
        self.gpu.now(action)
        assert "learner" in self.gpu.there, action
        return result

    def __getattr__(self, name):
        method = getattr(self.coin, name)  # reference_sums, update, save, restore, export
        return lambda *args: self.work(name, method(*args))


class Shared:
    """A run's roles on one GPU, with a back end for its broadcasts, in the form of a Coin."""

    def __init__(self, backend=IPC):
        self.gpu = Gpu()
        sharing = GpuSharing(self.start_engines, self.start_ranks, direct=backend == IPC)
        assert self.gpu.log == ["engines sleep", "ranks start"]
        self.gpu.log.clear()
        self.pool, self.learner = sharing.pool, sharing.learner
        self.channel = WeightChannel(
            self.learner, self.pool, PROBE, 1e-3, 1, backend, keep_packed=True
        )

    def start_engines(self, make_room):
        self.engines = Engines(self.gpu, make_room)
        return self.engines

    def start_ranks(self):
        return Ranks(self.gpu, self.engines)

    def sample(self, problems, plan):
        return self.pool.sample(problems, plan)

    def broadcast(self, version):
        return self.channel.broadcast(version)

    def __getattr__(self, name):
        return getattr(self.learner, name)


def log_of(folder, shared=None, **settings):
    return run(folder, coin=shared or Shared(), **settings).gpu.log


BROADCAST = ["pack", "expect", "load", "hand over", "learner sleeps", "probe"]
FROM_STORE = ["pack", "expect", "learner sleeps", "load", "probe"]
UPDATE = ["engines sleep", "learner wakes", "reference_sums", "update"]
SAVE = ["engines sleep", "learner wakes", "save"]


def test_the_roles_alternate_and_neither_sleeps_or_wakes_twice(tmp_path):
    assert log_of(tmp_path, stages=(2, 1), more=["checkpoint.every=2"]) == [
        *BROADCAST, "sample",  # the base model's evaluation
        "sample", *UPDATE, *BROADCAST,
        "sample", *UPDATE, *BROADCAST, "sample", *SAVE,  # evaluated and saved at a stage's end
        "learner sleeps", "sample", *UPDATE, *BROADCAST, "sample", *SAVE, "export",
    ]  # fmt: skip


def test_with_the_object_store_engines_and_learner_are_never_there_together(tmp_path):
    assert log_of(tmp_path, Shared(OBJECT_STORE), stages=(1, 1)) == [
        *FROM_STORE, "sample", *["sample", *UPDATE, *FROM_STORE, "sample", *SAVE],
        "learner sleeps", "sample", *UPDATE, *FROM_STORE, "sample", *SAVE, "export",
    ]  # fmt: skip


def test_weights_that_are_sampled_from_again_have_survived_the_engines_sleep(tmp_path):
    star = ["learn=star", "bonus=0", "kl=[0.0,0.0]", "refresh=2"]
    more = [f"stages.{stage}.{setting}" for stage in (0, 1) for setting in star]
    log = log_of(tmp_path, stages=(2, 2), more=more)
    # There is no broadcast between update and sampling, which would bring dropped weights back.
    again = ["update", "learner sleeps", "sample"]
    assert again in [log[i : i + 3] for i in range(len(log))]


def test_a_held_out_evaluation_comes_before_the_engines_leave_for_a_checkpoint(tmp_path):
    log = log_of(tmp_path, stages=(1, 1), held_out=PROBLEMS[:2])
    assert log[log.index("save") - 4 :][:5] == ["sample", "sample", *SAVE]


@pytest.mark.parametrize("death", ["sample", "load", "engines sleep"])
@pytest.mark.parametrize("backend", [IPC, OBJECT_STORE])
def test_the_engine_of_a_replaced_actor_starts_where_the_learner_has_left(death, backend, tmp_path):
    shared = Shared(backend)
    shared.engines.deaths = {death}
    log = log_of(tmp_path, shared, stages=(1, 1))
    assert log.count("new engine") == 1
    started = log.index("new engine")
    learner = [a for a in log[:started] if a in ("learner sleeps", "learner wakes")]
    assert learner[-1] == "learner sleeps"
    # It is awake, and is put to sleep before the learner wakes.
    after = [a for a in log[started:] if a in ("engines sleep", "learner wakes")]
    assert after[:2] == ["engines sleep", "learner wakes"]


@pytest.mark.parametrize(
    "action",
    ["reference_sums", "update", "pack", "hand over", "save", "learner sleeps", "learner wakes"],
)
def test_a_lost_learner_restarts_after_the_engines_have_left(action, tmp_path):
    shared = Shared()
    shared.gpu.lost = {action}
    log = log_of(tmp_path, shared, stages=(1, 1))
    begins = log.index("restart")
    assert log[begins - 3 : begins] == [action, "ranks end", "engines sleep"]
    assert log[begins + 1 :][: len(BROADCAST)] == BROADCAST
    assert log[-1] == "export"


def test_after_a_lost_node_its_engine_is_replaced_and_the_ranks_restart(tmp_path):
    shared = Shared()
    shared.gpu.lost, shared.engines.dies_with = {"update"}, "update"
    log = log_of(tmp_path, shared, stages=(1, 1))
    begins = log.index("restart")
    assert log[begins - 4 : begins] == ["update", "ranks end", "new engine", "engines sleep"]
