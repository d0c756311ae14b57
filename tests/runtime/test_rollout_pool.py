"""The pool with actors that have no engine: the order in which they are called and replaced."""

import os
import sys
from pathlib import Path

import pytest
import ray

from score_ray.runtime.ray_session import start_ray, stop_ray
from score_ray.runtime.remote_calls import RemoteCalls, Retries
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.runtime.rollout_slots import SlotState
from score_ray.types import RunError
from score_ray.weights.probe import Probe
from tests.support.setups import engine_setup
from tests.support.tiny_model import START, Events

pytestmark = pytest.mark.ray
ROWS, SCORES = [(1, 2)], [[-0.5]]
PROBE = Probe(3, ROWS, SCORES, None, 1e-3)


@pytest.fixture(scope="module", autouse=True)
def _ray(shared_ray):
    start_ray()
    yield
    stop_ray()


class LoggingActor:
    """Logs its calls, and dies of those that a test marks."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number, self.asleep = folder, number, False

    def join(self, weights, gpus):
        return self._log("join", SCORES if weights else [])

    def load_weights(self, parts, version):
        return self._log("load", None)

    def score(self, rows):
        return self._log("score", SCORES)

    def sleep(self):
        self.asleep = True
        return self._log("sleep", None)

    def is_asleep(self):
        return self.asleep

    def run(self, function, *args):
        return function(self.number, *args)

    def _log(self, call, answer):
        with (self.folder / "log").open("a") as log:
            log.write(f"{call} {self.number}\n")
        mark = self.folder / f"{call} {self.number}"
        if mark.exists():
            if mark.read_text() == "once":
                mark.unlink()
            os._exit(1)
        return answer


# Ray's workers cannot import a test module, so they get what they need of it by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class LoggingPlacement:
    """Starts such actors."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number

    def start(self, _actor_class: type, *_args: object):
        return ray.remote(num_cpus=0)(LoggingActor).remote(self.folder, self.number)

    def visible_gpus(self) -> str:
        return ""


@pytest.fixture
def pool(tmp_path):
    made = RolloutPool(
        [LoggingPlacement(tmp_path, number) for number in range(2)],  # type: ignore[arg-type]
        (engine_setup(), lambda: None),
        RemoteCalls(START, START),
        Retries(1),
        Events(),
        make_room=lambda: log_line(tmp_path, "room"),
    )
    made.wait_ready()
    (tmp_path / "log").write_text("")
    yield made
    for slot in made._slots:
        ray.kill(slot.actor)


def log_line(folder: Path, line: str) -> None:
    with (folder / "log").open("a") as log:
        log.write(f"{line}\n")


def die_of(folder: Path, call: str, often: str = "once") -> None:
    (folder / call).write_text(often)


def log_of(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def asleep(pool: RolloutPool) -> list[bool]:
    return ray.get([slot.actor.is_asleep.remote() for slot in pool._slots], timeout=START)


def test_room_is_made_between_loading_weights_and_using_them(pool, tmp_path):
    loaded = pool.load_weights(lambda: ["part"], PROBE)
    assert loaded.mismatches == {f"rollout actor {i}": 0.0 for i in (0, 1)}
    log = log_of(tmp_path)
    assert sorted(log[:2]) == ["load 0", "load 1"]
    assert log[2] == "room"
    assert sorted(log[3:]) == ["score 0", "score 1"]


def test_an_actor_lost_while_loading_is_replaced_after_the_others_and_with_room_made(
    pool, tmp_path
):
    die_of(tmp_path, "load 0")
    assert set(pool.load_weights(lambda: ["part"], PROBE).mismatches) >= {"rollout actor 1"}
    pool.wait_ready()
    log = log_of(tmp_path)
    assert sorted(log[:2]) == ["load 0", "load 1"]
    assert log[2] == "room"
    assert log.index("join 0") > 2
    assert pool._mismatches.keys() == {"rollout actor 0", "rollout actor 1"}
    assert pool.take_restarts() == 1


def test_when_sleep_returns_all_sleep_even_the_successor_of_one_that_died_of_it(pool, tmp_path):
    die_of(tmp_path, "sleep 1")
    pool.sleep()
    assert asleep(pool) == [True, True]
    assert log_of(tmp_path).index("room") < log_of(tmp_path).index("join 1")


def test_an_actor_that_is_still_starting_sleeps_too(pool, tmp_path):
    die_of(tmp_path, "score 0")
    pool.load_weights(lambda: ["part"], PROBE)
    assert pool._slots[0].state is SlotState.STARTING
    pool.sleep()
    assert asleep(pool) == [True, True]


def test_an_actor_that_dies_of_sleeping_again_and_again_is_one_named_error(pool, tmp_path):
    die_of(tmp_path, "sleep 1", often="always")
    with pytest.raises(RunError, match=r"rollout actor 1: the process died while leaving its GPU"):
        pool.sleep()
    assert log_of(tmp_path).count("join 1") == 1  # as often as the retries allow


def test_a_function_runs_with_every_engine_or_with_those_that_have_arguments(pool):
    assert pool.run_on_engines("measuring", lambda engine: engine + 10) == {
        "rollout actor 0": 10,
        "rollout actor 1": 11,
    }
    add = lambda engine, number: engine + number  # noqa: E731 - travels by value
    assert pool.run_on_engines("measuring", add, [(5,)]) == {"rollout actor 0": 5}
