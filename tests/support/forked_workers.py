"""Ray workers that are forked from a process which has torch, vLLM and DeepSpeed imported.

Importing them takes most of the time in which an engine or a learner rank starts. Ray starts the
executable that a job's runtime environment names: here a program that asks for a fork, hands over
its arguments, environment and standard streams, and ends when the fork does.

    python tests/support/forked_workers.py serve SOCKET          # the process that is forked
    python tests/support/forked_workers.py SOCKET SCRIPT [...]   # what Ray starts
"""

import json
import os
import runpy
import signal
import socket
import sys

STREAMS = (0, 1, 2)


def serve(path: str) -> None:
    """Import what workers need, then fork a worker for each request at the socket `path`."""
    _import_libraries()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are forked here
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(connection)
        connection.close()


def _import_libraries() -> None:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    sys.modules["ray"] = None  # type: ignore[assignment]  # its network library survives no fork
    import deepspeed  # noqa: F401
    import vllm.v1.worker.cpu_worker  # noqa: F401
    from transformers import LlamaForCausalLM  # noqa: F401
    from vllm import LLM  # noqa: F401

    del sys.modules["ray"]


def _answer(connection: socket.socket) -> None:
    """Fork a worker, and report its process number at once and its exit code when it ends."""
    message, fds, _, _ = socket.recv_fds(connection, 2**20, len(STREAMS))
    worker = os.fork()
    if not worker:
        connection.close()
        _become_worker(json.loads(message), fds)
    connection.sendall(f"{worker}\n".encode())
    _, status = os.waitpid(worker, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become_worker(request: dict, fds: list[int]) -> None:
    for stream, fd in zip(STREAMS, fds, strict=True):
        os.dup2(fd, stream)
        os.close(fd)
    os.chdir(request["folder"])
    os.environ.update(request["variables"])
    sys.argv = request["arguments"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
    os._exit(0)


def be_worker(path: str, arguments: list[str]) -> int:
    """Have a worker forked, wait until it ends and return its exit code."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    request = {"arguments": arguments, "variables": dict(os.environ), "folder": os.getcwd()}
    socket.send_fds(connection, [json.dumps(request).encode()], STREAMS)
    answers = connection.makefile()
    worker = int(answers.readline())
    signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGTERM))
    return int(answers.readline() or 1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    sys.exit(be_worker(sys.argv[1], sys.argv[2:]) & 255)
