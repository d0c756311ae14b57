"""What answers at the address of a cluster, found out before Ray waits for it."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import pytest

from score_ray.runtime import ray_address
from score_ray.runtime.ray_address import check_address, host_and_port, through_proxy
from score_ray.types import ConfigError


@pytest.fixture
def server():
    """Return a function that answers connections with these bytes, and returns the port."""
    listeners = []

    def serve(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def reply():
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.settimeout(1)
                    with connection, suppress(OSError):
                        if connection.recv(100) and answer:
                            connection.sendall(answer)
                        connection.recv(100)

        threading.Thread(target=reply, daemon=True).start()
        return listener.getsockname()[1]

    yield serve
    for listener in listeners:
        listener.close()


def refusal(address: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check_address(address)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"RAY_ADDRESS={address}: ")
    return text


@pytest.fixture
def service():
    """Return a function that serves these methods by gRPC, and returns the port."""
    servers = []

    def serve(**methods) -> int:
        server = grpc.server(ThreadPoolExecutor(1))
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(call) for name, call in methods.items()
        }
        generic = grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", handlers)
        server.add_generic_rpc_handlers([generic])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return port

    yield serve
    for server in servers:
        server.stop(None)


def test_a_service_that_says_which_cluster_it_is_passes(service):
    port = service(GetClusterId=lambda request, context: b"cluster")
    check_address(f"127.0.0.1:{port}")
    check_address(f"localhost:{port}")


def test_a_cluster_that_wants_a_token_passes(service):
    def refuse(request, context):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")

    check_address(f"127.0.0.1:{service(GetClusterId=refuse)}")


def test_a_service_that_speaks_http_2_but_is_no_cluster_is_named(service):
    port = service(GetAllNodeInfo=lambda request, context: b"")
    assert "another service uses that port" in refusal(f"127.0.0.1:{port}")


def test_a_service_that_takes_a_question_and_does_not_answer_is_named(service, monkeypatch):
    monkeypatch.setattr(ray_address, "SECONDS", 0.2)
    port = service(GetClusterId=lambda request, context: time.sleep(1) or b"")
    assert "no answer within" in refusal(f"127.0.0.1:{port}")


def test_a_greeting_in_http_2_without_more_is_not_enough(server, monkeypatch):
    monkeypatch.setattr(ray_address, "SECONDS", 0.5)
    greeting = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9])
    refusal(f"127.0.0.1:{server(greeting)}")


def test_an_address_that_ray_finds_itself_is_left_to_it():
    check_address("auto")


def test_an_address_that_ray_has_found_is_named_with_what_it_was_asked_for():
    with pytest.raises(
        ConfigError, match=r"^RAY_ADDRESS=auto \(head:port\): host:port of a cluster"
    ):
        check_address("head:port", "auto")


def test_a_closed_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    text = refusal(f"127.0.0.1:{port}")
    assert "no Ray cluster answers there: connection refused; start one with" in text


def test_a_host_that_has_no_address_is_named(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    assert "the host head.invalid is unknown" in refusal("head.invalid:6379")


@pytest.mark.parametrize("host", ["head..cluster", "h" * 70])
def test_a_name_that_cannot_be_one_is_refused(host):
    assert "no Ray cluster answers there" in refusal(f"{host}:6379")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n"])
def test_another_service_at_the_port_is_named(answer, server):
    assert "another service uses that port" in refusal(f"127.0.0.1:{server(answer)}")


def test_a_server_that_says_nothing_is_named(server, monkeypatch):
    monkeypatch.setattr(ray_address, "SECONDS", 0.2)
    monkeypatch.setattr(ray_address, "PATIENCE", 5.0)
    assert "no answer within" in refusal(f"127.0.0.1:{server(b'')}")


def test_a_name_server_that_does_not_answer_ends_the_wait(monkeypatch):
    monkeypatch.setattr(ray_address, "PATIENCE", 0.1)

    def wait(*_, **__):
        time.sleep(1)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", wait)
    assert "no answer within" in refusal("head:6379")


@pytest.mark.parametrize(
    "address", ["head", "ray://head:10001", "http://head:8265", "head:", "head:port", "head:70000"]
)
def test_an_address_of_another_form_is_refused_with_the_form_that_is_right(address):
    assert "host:port of a cluster is expected, such as head:6379" in refusal(address)


def test_host_and_port_are_told_apart():
    assert host_and_port("head:6379") == ("head", 6379)
    assert host_and_port("[::1]:6379") == ("::1", 6379)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://head:8265", " through the proxy http_proxy=http://p:3128; no_proxy=head goes "),
        ("http://inside:8265", ""),
        ("https://head:8265", ""),
    ],
)
def test_the_proxy_that_stands_before_a_job_server_is_named(url, words, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://p:3128")
    monkeypatch.setenv("no_proxy", "inside")
    assert through_proxy(url).startswith(words)
    assert bool(through_proxy(url)) == bool(words)
