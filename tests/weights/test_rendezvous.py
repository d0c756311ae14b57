"""Calling off, with a real store."""

import threading

import pytest
from torch.distributed import TCPStore
from vllm.utils.network_utils import get_open_port

from score_ray.types import PeerLost
from score_ray.weights import rendezvous as module
from score_ray.weights.rendezvous import Meeting, meet, watched

HOST = "127.0.0.1"


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(module, "TICK", 0.05)
    return TCPStore(HOST, get_open_port(), is_master=True, wait_for_workers=False, use_libuv=False)


@pytest.fixture
def meeting(store):
    return Meeting(HOST, store.port)


def test_what_ends_by_itself_is_left_alone(meeting):
    aborted = threading.Event()
    with watched(meeting, aborted.set):
        pass
    meeting.call_off()
    assert not aborted.wait(0.3)


def test_calling_off_aborts_what_is_under_way_and_names_it_whatever_the_abort_raises(meeting):
    aborted = threading.Event()

    def broadcast():
        meeting.call_off()
        assert aborted.wait(10)
        raise RuntimeError("NCCL error: aborted")

    with pytest.raises(PeerLost, match="called off"), watched(meeting, aborted.set):
        broadcast()


def test_what_comes_to_its_end_although_it_was_called_off_does_not_count(meeting):
    aborted = threading.Event()

    def broadcast():
        meeting.call_off()
        assert aborted.wait(10)

    with pytest.raises(PeerLost, match="called off"), watched(meeting, aborted.set):
        broadcast()


def test_an_error_of_its_own_stays_what_it_is(meeting):
    with pytest.raises(ValueError, match="shape"), watched(meeting, lambda: None):
        raise ValueError("shape")


def test_a_store_that_is_gone_with_its_process_aborts(monkeypatch):
    monkeypatch.setattr(module, "TICK", 0.05)
    monkeypatch.setattr(module, "ANSWER", module.timedelta(seconds=0.2))
    aborted = threading.Event()
    with (
        pytest.raises(PeerLost),
        watched(Meeting(HOST, get_open_port()), aborted.set),
    ):
        assert aborted.wait(20)


def test_meet_gives_what_joining_gives_or_raises(meeting):
    assert meet(meeting, lambda: 3) == 3

    def fails():
        raise TimeoutError("no store")

    with pytest.raises(TimeoutError, match="no store"):
        meet(meeting, fails)


def test_meet_ends_when_it_is_called_off_although_joining_does_not(meeting):
    never = threading.Event()
    threading.Timer(0.1, meeting.call_off).start()
    with pytest.raises(PeerLost):
        meet(meeting, lambda: never.wait(20))
    never.set()
