"""Calling a broadcast off, with a real store."""

import threading

import pytest
from torch.distributed import TCPStore
from vllm.utils.network_utils import get_open_port

from score_ray.types import PeerLost
from score_ray.weights import rendezvous as rendezvous_module
from score_ray.weights.rendezvous import Rendezvous, abort_if_called_off, join_or_give_up

HOST = "127.0.0.1"


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(rendezvous_module, "TICK", 0.05)
    return TCPStore(HOST, get_open_port(), is_master=True, wait_for_workers=False, use_libuv=False)


@pytest.fixture
def rendezvous(store):
    return Rendezvous(HOST, store.port)


def test_a_broadcast_that_ends_by_itself_is_not_aborted(rendezvous):
    aborted = threading.Event()
    with abort_if_called_off(rendezvous, aborted.set):
        pass
    rendezvous.call_off()
    assert not aborted.wait(0.3)


def test_calling_off_aborts_a_broadcast_and_raises_peer_lost_whatever_the_abort_raises(rendezvous):
    aborted = threading.Event()

    def broadcast():
        rendezvous.call_off()
        assert aborted.wait(10)
        raise RuntimeError("NCCL error: aborted")

    with pytest.raises(PeerLost, match="called off"), abort_if_called_off(rendezvous, aborted.set):
        broadcast()


def test_a_broadcast_that_ends_although_it_was_called_off_does_not_count(rendezvous):
    aborted = threading.Event()

    def broadcast():
        rendezvous.call_off()
        assert aborted.wait(10)

    with pytest.raises(PeerLost, match="called off"), abort_if_called_off(rendezvous, aborted.set):
        broadcast()


def test_an_error_without_a_call_off_is_raised_as_it_is(rendezvous):
    with pytest.raises(ValueError, match="shape"), abort_if_called_off(rendezvous, lambda: None):
        raise ValueError("shape")


def test_a_store_that_is_gone_with_its_process_aborts(monkeypatch):
    monkeypatch.setattr(rendezvous_module, "TICK", 0.05)
    monkeypatch.setattr(
        rendezvous_module, "STORE_TIMEOUT", rendezvous_module.timedelta(seconds=0.2)
    )
    aborted = threading.Event()
    with (
        pytest.raises(PeerLost),
        abort_if_called_off(Rendezvous(HOST, get_open_port()), aborted.set),
    ):
        assert aborted.wait(20)


def test_joining_returns_or_raises_what_join_does(rendezvous):
    assert join_or_give_up(rendezvous, lambda: 3) == 3

    def fails():
        raise TimeoutError("no store")

    with pytest.raises(TimeoutError, match="no store"):
        join_or_give_up(rendezvous, fails)


def test_joining_ends_when_it_is_called_off_although_join_does_not(rendezvous):
    never = threading.Event()
    threading.Timer(0.1, rendezvous.call_off).start()
    with pytest.raises(PeerLost):
        join_or_give_up(rendezvous, lambda: never.wait(20))
    never.set()
