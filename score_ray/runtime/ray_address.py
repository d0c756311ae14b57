"""Asks whether a Ray cluster answers at an address, before Ray itself would wait for it.

Ray's own client waits half a minute for a cluster that is not there, and prints its attempts.
"""

import os
import queue
import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from score_ray.types import ConfigError

SECONDS = 4.0  # for a connection, and again for an answer
PATIENCE = 8.0  # for both, and for the name server
# A question that the control service of each cluster answers, whatever its version.
QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"
NO_ANSWER = "no answer within {:.0f} s"


def check_named_cluster() -> None:
    """Raise ConfigError if RAY_ADDRESS names a cluster that does not answer."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "local"):
        check_address(address)


def check_address(address: str, found_by: str = "") -> None:
    """Raise ConfigError, naming RAY_ADDRESS, unless a cluster answers at host:port.

    "auto" is left to Ray, which looks for a cluster on this machine; it is `found_by` for the
    address that Ray then finds.
    """
    if address == "auto":
        return
    named = f"RAY_ADDRESS={found_by} ({address})" if found_by else f"RAY_ADDRESS={address}"
    host, port = host_and_port(address)
    if not port:
        raise ConfigError(
            f"{named}: host:port of a cluster is expected, such as head:6379; "
            "`score-ray submit` takes the address of a job server"
        )
    fault = _in_time(host, port)
    if fault:
        raise ConfigError(
            f"{named}: no Ray cluster answers there: {fault}; start one with `ray start --head`, "
            "or unset RAY_ADDRESS to use this machine alone"
        )


def host_and_port(address: str) -> tuple[str, int]:
    """Return the host and the port of host:port or [host]:port; port 0 if it is of another form."""
    host, _, port = address.rpartition(":")
    is_plain = host and "://" not in address and port.isascii() and port.isdigit()
    return (host.strip("[]"), int(port)) if is_plain and int(port) < 2**16 else ("", 0)


def _in_time(host: str, port: int) -> str:
    """Return the fault of an address; a name server that does not answer is one, too."""
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    ask = threading.Thread(target=lambda: answers.put(_fault(host, port)), daemon=True)
    ask.start()
    try:
        return answers.get(timeout=PATIENCE)
    except queue.Empty:
        return NO_ANSWER.format(PATIENCE)


def _fault(host: str, port: int) -> str:
    """Return what is wrong with an address; "" if a Ray cluster answers there."""
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except TimeoutError:
        return NO_ANSWER.format(SECONDS)
    except socket.gaierror:
        return f"the host {host} is unknown"
    except (OSError, ValueError) as error:  # a name that cannot be one is a ValueError
        return (getattr(error, "strerror", None) or str(error)).lower()
    uses_tls = os.environ.get("RAY_USE_TLS", "0") not in ("", "0")
    return "" if uses_tls else _fault_of_service(host, port)


def _fault_of_service(host: str, port: int) -> str:
    """Return why a service that accepts connections is no Ray cluster; "" if it is one."""
    import grpc

    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Ray goes past a proxy.
    with grpc.insecure_channel(place, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(QUESTION)(b"", timeout=SECONDS)
        except grpc.RpcError as error:
            code = error.code()  # pyright: ignore[reportAttributeAccessIssue]
            if code == grpc.StatusCode.UNAUTHENTICATED:
                return ""  # a cluster, to which Ray has to show a token
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                return NO_ANSWER.format(SECONDS)
            return "another service uses that port"
    return ""


def through_proxy(url: str) -> str:
    """Return words on the proxy that the environment names for a URL, or nothing."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.hostname or ""):
        return ""
    return (
        f" through the proxy {parts.scheme}_proxy={proxy}; no_proxy={parts.hostname} goes without"
    )
