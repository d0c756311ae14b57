"""The engines that a direct broadcast loses, and when it gives up, without Ray.

The clock only moves when the client waits.
"""

from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError, RayTaskError

from score_ray.runtime import engine_client
from score_ray.runtime.engine_client import EngineClient, Recipients
from score_ray.runtime.remote_calls import SETTLE_SECONDS
from score_ray.types import PeerLost

FINE, NEVER = "fine", 10.0**9
STEPS = ("link", "start_update", "receive", "finish_update")


class World:
    """Ray and a clock, for calls that are each answered at a known time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, refs, num_returns, timeout):
        first = min(refs, key=lambda ref: ref.at)
        if first.at > self.now + timeout:
            self.now += timeout
            return [], refs
        self.now = max(self.now, first.at)
        return [first], [ref for ref in refs if ref is not first]

    def get(self, ref):
        if isinstance(ref.answer, Exception):
            raise ref.answer

    def actor(self, name: str, answers: dict) -> SimpleNamespace:
        """Return an actor; `answers` are the seconds until a step is answered, and the answer."""

        def remote_of(step: str) -> SimpleNamespace:
            def remote(*args):
                self.calls.append((name, step, *args))
                seconds, answer = answers.get(step, (1.0, FINE))
                return Ref(self.now + seconds, answer)

            return SimpleNamespace(remote=remote)

        return SimpleNamespace(**{step: remote_of(step) for step in STEPS})


class Ref:
    def __init__(self, at: float, answer: object) -> None:
        self.at, self.answer = at, answer


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(engine_client, "ray", made)
    monkeypatch.setattr(engine_client, "time", made)
    return made


def client_of(world: World, together: bool, first: dict, second: dict) -> EngineClient:
    actors = {"one": world.actor("one", first), "two": world.actor("two", second)}
    return EngineClient(
        Recipients(actors, gpus_each=2, version=5),
        together,
        seconds=60.0,
        on_loss=lambda: world.calls.append(("called off", world.now)),
    )


def test_engines_of_two_gpus_each_have_the_ranks_after_the_learners(world):
    to = client_of(world, True, {}, {})
    assert to.workers == 4
    to.init_weight_transfer_engine({"rank_offset": 1, "world_size": 5})
    assert world.calls == [
        ("one", "link", {"rank_offset": 1, "world_size": 5}),
        ("two", "link", {"rank_offset": 3, "world_size": 5}),
    ]


def test_engines_without_a_communicator_get_no_ranks(world):
    client_of(world, False, {}, {}).init_weight_transfer_engine({"packed": True})
    assert world.calls == [("one", "link", {"packed": True}), ("two", "link", {"packed": True})]


def test_engines_finish_under_the_version_that_vllms_sender_does_not_know(world):
    client_of(world, True, {}, {}).finish_weight_update()
    assert world.calls == [("one", "finish_update", 5), ("two", "finish_update", 5)]


def test_a_death_is_noticed_at_once_and_the_others_answer_within_seconds(world):
    off = PeerLost("called off")
    to = client_of(world, True, {"receive": (4.0, off)}, {"receive": (3.0, RayActorError())})
    to.update_weights({})
    assert to.lost == {"two": "the process died"}
    assert world.calls[2:] == [("called off", 3.0)]
    assert world.now == 4.0
    to.finish_weight_update()
    assert world.calls[3:] == []


def test_a_silent_engine_is_named_when_the_time_is_up_and_the_others_are_not(world):
    off = PeerLost("called off")
    to = client_of(world, True, {"receive": (61.0, off)}, {"receive": (NEVER, FINE)})
    to.update_weights({})
    assert to.lost == {"two": "no sign of life for 60 s"}
    assert world.calls[2:] == [("called off", 60.0)]
    assert world.now == 60.0 + SETTLE_SECONDS


def test_the_deadline_is_for_all_steps_together(world):
    to = client_of(world, False, {"start_update": (50.0, FINE)}, {"receive": (11.0, FINE)})
    to.start_weight_update()
    to.update_weights({})
    assert to.lost == {"two": "no sign of life for 60 s"}
    assert world.now == 60.0


def test_where_all_were_cut_off_and_none_is_dead_or_silent_all_are_lost(world):
    off = PeerLost("called off")
    to = client_of(world, True, {"receive": (2.0, off)}, {"receive": (2.0, off)})
    to.update_weights({})
    assert to.lost == {"one": "called off", "two": "called off"}


def test_without_a_communicator_the_others_go_on(world):
    to = client_of(world, False, {}, {"receive": (3.0, RayActorError())})
    to.update_weights({})
    to.finish_weight_update()
    assert to.lost == {"two": "the process died"}
    assert world.calls[-1] == ("one", "finish_update", 5)
    assert ("called off", 3.0) not in world.calls


def test_an_error_raised_by_an_engine_calls_the_broadcast_off_and_is_raised(world):
    error = RayTaskError("receive", "bad shape", ValueError("bad shape"))
    to = client_of(world, True, {"receive": (1.0, error)}, {})
    with pytest.raises(RayTaskError):
        to.update_weights({})
    assert world.calls[2:] == [("called off", 1.0)]
