"""The pool with rollout actors that have no engine: in which order they are called and replaced."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from score_ray.runtime.ray_session import start_ray, stop_ray
from score_ray.runtime.remote_calls import Calls, Retries
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.types import RunError
from score_ray.weights.probe import Probe
from tests.support.tiny_model import START, Events

pytestmark = pytest.mark.ray
ROWS, SCORES = [(1, 2)], [[-0.5]]
PROBE = Probe(3, ROWS, SCORES, None, 1e-3)


@pytest.fixture(scope="module", autouse=True)
def _ray():
    start_ray()
    yield
    stop_ray()


class Actor:
    """Writes down what it is asked, and dies of it where it is told to."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number, self.asleep = folder, number, False

    def join(self, weights, gpus):
        return self._note("join", SCORES if weights else [])

    def load_weights(self, parts, version):
        return self._note("load", None)

    def score(self, rows):
        return self._note("score", SCORES)

    def sleep(self):
        self.asleep = True
        return self._note("sleep", None)

    def is_asleep(self):
        return self.asleep

    def _note(self, what, answer):
        with (self.folder / "log").open("a") as log:
            log.write(f"{what} {self.number}\n")
        mark = self.folder / f"{what} {self.number}"
        if mark.exists():
            if mark.read_text() == "once":
                mark.unlink()
            os._exit(1)
        return answer


# Ray's workers cannot import a test module: what they need of it travels whole.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Place:
    """Starts such actors."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number

    def start(self, _actor_class: type, *_args: object):
        return ray.remote(num_cpus=0)(Actor).remote(self.folder, self.number)

    def visible(self) -> str:
        return ""


@pytest.fixture
def pool(tmp_path):
    places = [Place(tmp_path, number) for number in range(2)]
    make = (SimpleNamespace(tensor_parallel=1, backend="object_store"), None)
    made = RolloutPool(places, make, Calls(START, START), Retries(1), Events())  # type: ignore
    made.wait_ready()
    made.make_room = lambda: note(tmp_path, "room")
    (tmp_path / "log").write_text("")
    yield made
    for seat in made._seats:
        ray.kill(seat.actor)


def note(folder: Path, what: str) -> None:
    with (folder / "log").open("a") as log:
        log.write(f"{what}\n")


def dies(folder: Path, when: str, often: str = "once") -> None:
    (folder / when).write_text(often)


def log_of(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def asleep(pool: RolloutPool) -> list[bool]:
    return ray.get([seat.actor.is_asleep.remote() for seat in pool._seats], timeout=START)


def test_room_is_made_between_loading_weights_and_using_them(pool, tmp_path):
    loaded = pool.load_weights(lambda: ["part"], PROBE)
    assert loaded.gaps == {f"rollout actor {i}": 0.0 for i in (0, 1)}
    found = log_of(tmp_path)
    assert sorted(found[:2]) == ["load 0", "load 1"]
    assert found[2] == "room"
    assert sorted(found[3:]) == ["score 0", "score 1"]


def test_an_actor_lost_while_loading_is_replaced_after_the_others_and_with_room_made(
    pool, tmp_path
):
    dies(tmp_path, "load 0")
    assert set(pool.load_weights(lambda: ["part"], PROBE).gaps) >= {"rollout actor 1"}
    pool.wait_ready()
    found = log_of(tmp_path)
    assert sorted(found[:2]) == ["load 0", "load 1"]
    assert found[2] == "room"
    assert found.index("join 0") > 2
    assert pool._gaps.keys() == {"rollout actor 0", "rollout actor 1"}
    assert pool.take_restarts() == 1


def test_all_sleep_when_sleep_returns_the_successor_of_one_that_died_of_it_too(pool, tmp_path):
    dies(tmp_path, "sleep 1")
    pool.sleep()
    assert asleep(pool) == [True, True]
    assert log_of(tmp_path).index("room") < log_of(tmp_path).index("join 1")


def test_an_actor_that_is_still_starting_sleeps_too(pool, tmp_path):
    dies(tmp_path, "score 0")
    pool.load_weights(lambda: ["part"], PROBE)
    assert pool._seats[0].joining
    pool.sleep()
    assert asleep(pool) == [True, True]


def test_an_actor_that_dies_of_sleeping_again_and_again_is_one_named_error(pool, tmp_path):
    dies(tmp_path, "sleep 1", often="always")
    with pytest.raises(RunError, match=r"rollout actor 1: the process died while leaving its GPU"):
        pool.sleep()
    assert log_of(tmp_path).count("join 1") == 1  # as often as the retries allow
