"""A run on two nodes in separate network namespaces, and a cable between them that is pulled."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from score_ray.reporting.json_lines import read_jsonl
from tests.chaos import check, metrics, overrides
from tests.support.tiny_model import make_model

pytestmark = pytest.mark.ray
HEAD, WORKER = "10.213.77.1", "10.213.77.2"
PORT = 26379
ITERATIONS = 30


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def may_make_namespaces() -> bool:
    if os.geteuid() or not shutil.which("ip"):
        return False
    made = subprocess.run(["ip", "netns", "add", "score-probe"], capture_output=True)
    subprocess.run(["ip", "netns", "delete", "score-probe"], capture_output=True)
    return made.returncode == 0


@pytest.fixture
def cable():
    """Join namespaces score-head and score-worker by a cable, and yield the worker's end."""
    names = ("score-head", HEAD), ("score-worker", WORKER)
    try:
        ip("link", "add", "score-head", "type", "veth", "peer", "name", "score-worker")
        for name, address in names:
            ip("netns", "add", name)
            ip("link", "set", name, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield "score-worker"
    finally:
        for name, _ in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        subprocess.run(["ip", "link", "delete", "score-head"], capture_output=True)


@pytest.fixture
def start(tmp_path):
    """Yield a function that starts a command in a namespace; commands end with the test."""
    running = []
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env |= {"RAY_worker_niceness": "0", "RAY_ADDRESS": f"{HEAD}:{PORT}"}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    env["PYTHONPATH"] = os.getcwd()
    env.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)  # these nodes are not on loopback

    def begin(namespace: str, *words: str, **more: str) -> subprocess.Popen:
        log = (tmp_path / f"{namespace}{len(running)}.log").open("w")
        running.append(
            subprocess.Popen(
                ["ip", "netns", "exec", namespace, *words],
                env=env | more, stdout=log, stderr=log,
            )
        )  # fmt: skip
        return running[-1]

    yield begin
    for process in running:
        family = []
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()


@pytest.fixture
def short():
    """Yield a folder with a path so short that the name of a socket can follow it."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        yield folder


def wait_for(runs: Path, iterations: int, driver: subprocess.Popen, seconds: float) -> None:
    end = time.monotonic() + seconds
    while len(metrics(runs / "arithmetic")) < iterations:
        assert driver.poll() is None
        assert time.monotonic() < end, f"no {iterations} iterations within {seconds} s"
        time.sleep(0.1)


@pytest.mark.skipif(not may_make_namespaces(), reason="needs root, ip and network namespaces")
@pytest.mark.timeout(600)
def test_a_node_behind_a_dead_network_is_given_up_and_the_run_goes_on_without_it(
    cable, start, short, tmp_path
):
    ray = ("ray", "start", "--block", "--num-cpus=1", "--disable-usage-stats")
    start("score-head", *ray, "--head", f"--port={PORT}", f"--node-ip-address={HEAD}",
          "--include-dashboard=false", f"--temp-dir={short}", RAY_ADDRESS="")  # fmt: skip
    start("score-worker", *ray, f"--address={HEAD}:{PORT}", f"--node-ip-address={WORKER}",
          RAY_ADDRESS="")  # fmt: skip
    asked = overrides(
        ITERATIONS,
        f"model.path={make_model(tmp_path / 'model')}",
        "grading.reward=tests.support.even_digits:reward",
        "recovery.grace=10",
    )
    both = "import ray, time; ray.init()\nwhile len(ray.nodes()) < 2: time.sleep(0.2)"
    assert not start("score-head", sys.executable, "-c", both).wait(180)
    driver = start("score-head", sys.executable, "launch.py", "train",
                   "configs/arithmetic.yaml", *asked, "--runs", str(tmp_path))  # fmt: skip
    wait_for(tmp_path, 5, driver, 180)
    ip("-n", cable, "link", "set", cable, "down")
    assert driver.wait(300) == 0
    check(tmp_path / "arithmetic", ITERATIONS)
    events = read_jsonl(tmp_path / "arithmetic" / "events.jsonl")
    # Alarms about the training of a random model are not about the network.
    lost = {event["kind"] for event in events} - {"alarm"}
    assert lost == {"rollout_actor", "learner_rank"}
