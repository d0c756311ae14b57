"""A direct broadcast in pool and channel, where actors and learner answer at once."""

from types import SimpleNamespace

import pytest

from score_ray.runtime import remote_calls, rollout_pool, weight_channel
from score_ray.runtime.engine_client import Recipients
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.remote_calls import RemoteCalls, Retries
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.runtime.weight_channel import WeightChannel
from score_ray.types import LearnerLost, RunError
from score_ray.weights.probe import WeightMismatch
from tests.support.setups import engine_setup

ROWS = [(1, 2, 3)]


class Ref:
    def __init__(self, value: object) -> None:
        self.value = value


class AnsweringRay:
    """The part of Ray that the pool uses, where every call has been answered."""

    def __init__(self) -> None:
        self.killed: list = []

    def wait(self, refs, num_returns, timeout):
        return refs[:1], refs[1:]

    def get(self, ref, timeout):
        return ref.value

    def kill(self, actor) -> None:
        self.killed.append(actor)


class Actor:
    """Serves the version it was last given; its log-probs are that number."""

    def __init__(self, placement: "FakePlacement") -> None:
        self.version, self.placement = -1, placement

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *args: Ref(getattr(self, f"do_{name}")(*args)))

    def do_join(self, weights, *rest):
        if not weights:
            return []
        parts, version, rows = weights
        self.do_load_weights(parts, version)
        return self.do_score(rows)

    def do_load_weights(self, parts, version):
        self.placement.packed.append(parts)
        self.version = version

    def do_score(self, rows):
        return [[float(self.version)] * 2]


class FakePlacement:
    """Starts such actors, and keeps the packed weights that they loaded."""

    def __init__(self) -> None:
        self.packed: list = []

    def start(self, role, *args) -> Actor:
        return Actor(self)

    def visible_gpus(self) -> None:
        return None


class Learner:
    """Sends its version to all actors but those in `losses`, broadcast by broadcast."""

    def __init__(self, *losses: dict[str, str]) -> None:
        self.losses, self.version = list(losses), 0
        self.sent: list[list[str]] = []
        self.packs = 0

    def packed_weights(self, part_bytes):
        self.packs += 1
        return [f"packed {self.version}"]

    def score(self, rows):
        return [[float(self.version)] * 2]

    def send(self, backend, to, part_bytes):
        self.sent.append([*to.actors])
        lost = self.losses.pop(0) if self.losses else {}
        if isinstance(lost, Exception):
            raise lost
        for who, actor in to.actors.items():
            if who not in lost and not (lost and backend == "nccl"):
                actor.version = to.version
        return lost


@pytest.fixture
def ray(monkeypatch):
    made = AnsweringRay()
    monkeypatch.setattr(rollout_pool, "ray", made)
    monkeypatch.setattr(remote_calls, "ray", made)
    return made


def make_pool(backend: str, retries: int = 3) -> tuple[RolloutPool, list[FakePlacement]]:
    placements = [FakePlacement(), FakePlacement()]
    pool = RolloutPool(
        placements,  # type: ignore[arg-type]
        (engine_setup(backend=backend), lambda: None),
        RemoteCalls(60.0, 60.0),
        Retries(retries),
        lambda *args, **kwargs: None,
    )
    pool.wait_ready()
    return pool, placements


def broadcast(learner: Learner, engines: RolloutPool, backend: str, keep: bool = False) -> dict:
    channel = WeightChannel(learner, engines, ROWS, 1e-3, 100, backend, keep)
    return channel.broadcast(learner.version)


BOTH = ["rollout actor 0", "rollout actor 1"]


class SlowLearner(Learner):
    """On its clock, packing takes 2 s, scoring 30 s and sending 5 s."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def packed_weights(self, part_bytes):
        self.now += 2
        return super().packed_weights(part_bytes)

    def score(self, rows):
        self.now += 30
        return super().score(rows)

    def send(self, backend, to, part_bytes):
        self.now += 5
        return super().send(backend, to, part_bytes)


@pytest.mark.parametrize(("backend", "seconds"), [("object_store", 2), ("nccl", 5), ("ipc", 5)])
def test_the_seconds_of_weights_are_those_of_packing_and_sending_alone(
    ray, backend, seconds, monkeypatch
):
    learner, (engines, _) = SlowLearner(), make_pool(backend)
    monkeypatch.setattr(rollout_pool, "time", learner)
    monkeypatch.setattr(weight_channel, "time", learner)
    assert broadcast(learner, engines, backend, keep=True).seconds == seconds


@pytest.mark.parametrize("backend", ["nccl", "ipc"])
def test_engines_that_serve_are_sent_to_and_nothing_is_packed(ray, backend):
    learner = Learner()
    engines, placements = make_pool(backend)
    result = broadcast(learner, engines, backend)
    assert result.mismatch == 0.0
    assert result.engines == 2
    assert learner.sent == [BOTH]
    assert (learner.packs, placements[0].packed) == (0, [])


@pytest.mark.parametrize(("keep", "packs"), [(False, 0), (True, 1)])
def test_a_learner_that_does_not_wait_packs_at_every_broadcast(ray, keep, packs):
    learner = Learner()
    engines, _ = make_pool("nccl")
    broadcast(learner, engines, "nccl", keep)
    assert learner.packs == packs


def test_after_a_loss_nccl_sends_again_to_those_left_and_the_new_actor_gets_packed_weights(ray):
    learner = Learner({"rollout actor 1": "the process died"})
    engines, placements = make_pool("nccl")
    learner.version = 3
    broadcast(learner, engines, "nccl")
    assert learner.sent == [BOTH, ["rollout actor 0"]]
    assert (len(ray.killed), engines.take_restarts()) == (1, 1)
    engines.wait_ready()
    assert (placements[0].packed, placements[1].packed) == ([], [["packed 3"]])
    assert engines._mismatches == {"rollout actor 0": 0.0, "rollout actor 1": 0.0}
    learner.version = 4
    broadcast(learner, engines, "nccl")
    assert learner.sent[2:] == [BOTH]


def test_after_a_loss_ipc_has_reached_those_left(ray):
    learner = Learner({"rollout actor 1": "the process died"})
    engines, placements = make_pool("ipc")
    learner.version = 3
    assert broadcast(learner, engines, "ipc").engines == 1
    assert learner.sent == [BOTH]
    engines.wait_ready()
    assert placements[1].packed == [["packed 3"]]


def test_an_actor_that_is_starting_gets_packed_weights_and_is_not_sent_to(ray):
    learner = Learner()
    engines, placements = make_pool("nccl")
    engines._slots[1].start(None)
    learner.version = 2
    broadcast(learner, engines, "nccl")
    assert learner.sent == [["rollout actor 0"]]
    engines.wait_ready()
    assert placements[1].packed == [["packed 2"]]
    assert engines._mismatches == {"rollout actor 0": 0.0, "rollout actor 1": 0.0}


def test_where_all_actors_are_lost_all_start_with_packed_weights_that_are_packed_once(ray):
    learner = Learner(dict.fromkeys(BOTH, "the process died"))
    engines, placements = make_pool("nccl")
    broadcast(learner, engines, "nccl")
    engines.wait_ready()
    assert learner.sent == [BOTH]
    assert [len(placement.packed) for placement in placements] == [1, 1]
    assert learner.packs == 1


def test_repeated_losses_end_in_one_named_error(ray):
    learner = Learner(*[{"rollout actor 0": "the process died"}] * 9)
    engines, _ = make_pool("nccl", retries=0)
    with pytest.raises(RunError, match="rollout actor 0: the process died while loading weights"):
        broadcast(learner, engines, "nccl")


def test_the_loss_of_the_learner_is_raised_and_no_actor_starts_with_its_weights(ray):
    learner = Learner(LearnerLost("learner rank 0", "sending weights", "the process died"))
    engines, placements = make_pool("nccl")
    with pytest.raises(LearnerLost):
        broadcast(learner, engines, "nccl")
    engines._slots[0].start(engines._to_load())
    engines.wait_ready()
    assert placements[0].packed == []


def test_an_engine_that_was_not_reached_is_caught_by_the_probe(ray):
    learner = Learner()
    engines, _ = make_pool("nccl")
    learner.version = 1
    broadcast(learner, engines, "nccl")
    learner.send = lambda *args: {}
    learner.version = 2
    with pytest.raises(WeightMismatch, match="rollout actor 0"):
        broadcast(learner, engines, "nccl")


def test_every_rank_gets_the_deadline_and_rank_0_names_the_lost_actors(ray):
    received = []

    class Rank:
        def __init__(self, lost):
            self.send = SimpleNamespace(remote=lambda *args: received.append(args) or Ref(lost))

    group = LearnerGroup.__new__(LearnerGroup)
    group._calls = RemoteCalls(600.0, 60.0, LearnerLost)
    group._ranks = {"learner rank 0": Rank({"one": "the process died"}), "learner rank 1": Rank({})}
    to = Recipients({}, 1, 3)
    assert group.send("nccl", to, 100) == {"one": "the process died"}
    assert received == [("nccl", to, 100, 600.0)] * 2


def test_ranks_may_take_the_time_they_need_to_give_up_on_engines(ray, monkeypatch):
    waited = []
    monkeypatch.setattr(
        ray, "wait", lambda refs, num_returns, timeout: waited.append(timeout) or ([], refs)
    )
    with pytest.raises(LearnerLost):
        RemoteCalls(600.0, 60.0, LearnerLost).gather(
            "sending weights", {"rank": Ref(0)}, spare=30.0
        )
    assert waited == [pytest.approx(630.0, abs=1.0)]
