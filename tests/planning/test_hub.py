"""A model's name where no hub can be reached: refused at once, or read from the cache."""

import socket

import huggingface_hub
import pytest
from huggingface_hub import constants

from score_ray.planning.hub import check_hub
from score_ray.types import ConfigError


@pytest.fixture
def unreachable(monkeypatch):
    """Every connection is refused; return the addresses that were tried."""
    tried = []

    def refuse(address, timeout):
        tried.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr("score_ray.tasks.tables.hub_address.getproxies", dict)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    check_hub.cache_clear()
    yield tried
    check_hub.cache_clear()


@pytest.mark.parametrize("name", ["nobody/nothing", "Qwen/Qwen9-1B"])
def test_a_model_that_is_not_in_the_cache_is_refused_after_one_attempt(name, unreachable):
    with pytest.raises(ConfigError) as caught:
        check_hub(name)
    assert str(caught.value) == (
        f"model.path: {name} is not in the cache ({constants.HF_HUB_CACHE}), and "
        "https://hub.invalid cannot be reached: connection refused; model.path=FOLDER takes a "
        "folder with the model's files"
    )
    assert unreachable == [("hub.invalid", 443)]


def test_a_model_in_the_cache_is_read_from_there(unreachable, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "/cache/config.json")
    check_hub("a/b")
    assert constants.HF_HUB_OFFLINE
    assert capsys.readouterr().err == (
        "note: a/b is read from the cache: https://hub.invalid cannot be reached: connection "
        "refused\n"
    )


def test_the_hub_is_not_asked_about_a_folder_or_behind_a_proxy_or_offline(
    unreachable, monkeypatch, tmp_path
):
    check_hub(str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_hub("a/b")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    proxies = {"https": "http://proxy:3128"}
    monkeypatch.setattr("score_ray.tasks.tables.hub_address.getproxies", lambda: proxies)
    check_hub("a/c")
    assert unreachable == []
