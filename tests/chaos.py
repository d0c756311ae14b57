"""A run whose processes are killed at random moments, on a real Ray cluster of several nodes.

By hand, with as many kills as you like (half a minute each on 2 cores):

    python -m tests.chaos --kills 0 --iterations 480 --folder /tmp/calm
    python -m tests.chaos --kills 24 --folder /tmp/chaos --beside /tmp/calm

It prints what was killed and how long the run took to get further than it was, and fails
unless every planned iteration happened exactly once with every episode that was planned, and
both sides of the broadcast agreed to the end; beside an undisturbed run it says in how many
iterations both sampled alike. test_survival.py runs a short one.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # loopback; before ray's import
os.environ.setdefault("RAY_worker_niceness", "0")

import psutil
from ray.cluster_utils import Cluster

KINDS = ("rollout actor", "learner rank", "driver", "worker node")
TITLES = {"rollout actor": "ray::RolloutActor", "learner rank": "ray::LearnerRank"}
PROBLEMS, SAMPLES = 16, 4
ITERATIONS_PER_KILL = 20  # an iteration takes a third of a second, a kill comes within three
GIVE_UP = 300.0  # seconds without progress


@dataclass(frozen=True)
class Kill:
    """What was killed after how many iterations, and the seconds until the run was further."""

    kind: str
    iteration: int
    seconds: float


class Chaos:
    """A cluster of a head and a worker node, a run on it, and who kills them."""

    def __init__(self, folder: Path, overrides: Sequence[str], seed: int) -> None:
        self._runs, self._log = folder, (folder / "driver.log").open("a")
        self._command = [sys.executable, "launch.py", "train", "configs/arithmetic.yaml",
                         *overrides, "--runs", str(folder)]  # fmt: skip
        self._random = random.Random(seed)
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self._worker = self._cluster.add_node(num_cpus=1)
        self._driver = self._drive()

    def play(self, kinds: Sequence[str]) -> list[Kill]:
        """Kill one of each kind in turn, each at a random moment of a run in progress."""
        kills = []
        for kind in kinds:
            at = self._wait_for(self.iterations() + 1)
            time.sleep(self._random.uniform(0.0, 3.0))
            at = max(at, self.iterations())
            began = time.monotonic()
            self._kill(kind)
            self._wait_for(at + 1)
            kills.append(Kill(kind, at, time.monotonic() - began))
            print(f"{kind} killed after {at} iterations: {kills[-1].seconds:.1f} s", flush=True)
        return kills

    def finish(self) -> None:
        """Wait for the run's end; raise CalledProcessError if it failed."""
        code = self._driver.wait(3600)
        if code:
            raise subprocess.CalledProcessError(code, self._command)

    def iterations(self) -> int:
        """How many are done."""
        return len(metrics(self._runs / "arithmetic"))

    def close(self) -> None:
        """End the run and the cluster."""
        self._driver.kill()
        self._driver.wait()
        self._cluster.shutdown()
        self._log.close()

    def _drive(self) -> subprocess.Popen:
        own = {"RAY_ADDRESS": self._cluster.address, "PYTHONPATH": str(Path(__file__).parents[1])}
        env = os.environ | own
        return subprocess.Popen(self._command, env=env, stdout=self._log, stderr=self._log)

    def _kill(self, kind: str) -> None:
        if kind == "driver":
            self._driver.kill()
            self._driver.wait()
            self._driver = self._drive()
        elif kind == "worker node":
            self._cluster.remove_node(self._worker, allow_graceful=False)
            self._worker = self._cluster.add_node(num_cpus=1)
        else:
            victims = named(TITLES[kind])
            os.kill(self._random.choice(victims).pid, signal.SIGKILL)

    def _wait_for(self, iterations: int) -> int:
        """Until so many are done; how many that are by then."""
        end = time.monotonic() + GIVE_UP
        while (done := self.iterations()) < iterations:
            if self._driver.poll() not in (None, 0) or time.monotonic() > end:
                raise RuntimeError(f"the run stands at {done} iterations; see {self._log.name}")
            time.sleep(0.1)
        return done


def named(title: str) -> list[psutil.Process]:
    """This process's descendants whose command line begins so."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "".join(process.cmdline()).startswith(title):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def metrics(folder: Path) -> list[dict]:
    """The whole lines of metrics.jsonl."""
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def check(folder: Path, iterations: int) -> None:
    """Every iteration once, every episode of each once, and weights equal to the end."""
    lines = metrics(folder)
    assert [r["iteration"] for r in lines] == list(range(iterations))
    for record in lines:
        for attempt in (1, 2):
            graded = [v for k, v in record.items() if re.fullmatch(f"verdict/.*_t{attempt}", k)]
            assert sum(graded) == PROBLEMS * SAMPLES, record
        assert record["mismatch/logp_mean_abs"] < 1e-4, record
        assert record["weights/checked"] >= 1, record
    evals = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
    assert len({e["iteration"] for e in evals}) == len(evals)
    assert evals[-1]["iteration"] == iterations
    assert (folder / "model" / "config.json").is_file()


def overrides(iterations: int, *more: str) -> list[str]:
    """A run of two rollout actors and two ZeRO-2 ranks, with half its iterations in each stage."""
    first = iterations // 2
    return [
        f"rollout.problems={PROBLEMS}", f"rollout.samples={SAMPLES}", "rollout.num_actors=2",
        "learner.num_ranks=2", "learner.zero_stage=2", "checkpoint.every=2",
        "evaluation.problems=200", f"stages.0.iterations={first}",
        f"stages.1.iterations={iterations - first}", *more,
    ]  # fmt: skip


def main() -> None:
    """The long run, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--iterations", type=int, default=0)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True)
    iterations = asked.iterations or asked.kills * ITERATIONS_PER_KILL
    kinds = [KINDS[number % len(KINDS)] for number in range(asked.kills)]
    random.Random(asked.seed).shuffle(kinds)
    chaos = Chaos(asked.folder, overrides(iterations), asked.seed)
    try:
        kills = chaos.play(kinds)
        chaos.finish()
    finally:
        chaos.close()
    check(asked.folder / "arithmetic", iterations)
    print("killed          times  seconds until further: mean  most")
    for kind in KINDS:
        took = [kill.seconds for kill in kills if kill.kind == kind]
        if took:
            print(f"{kind:15} {len(took):5}  {fmean(took):27.1f} {max(took):5.1f}")
    if asked.beside:
        compare(asked.folder / "arithmetic", asked.beside / "arithmetic")


def compare(ours: Path, theirs: Path) -> None:
    """Say how alike two runs of the same config are."""
    names = [f"train/{name}" for name in ("acc_t1", "acc_t2", "i_to_c", "c_to_i")]
    pairs = list(zip(metrics(ours), metrics(theirs), strict=True))
    alike = [all(a[name] == b[name] for name in names) for a, b in pairs]
    until = alike.index(False) if False in alike else len(alike)
    print(f"sampled alike in {sum(alike)} of {len(alike)} iterations, in all of the first {until}")
    for folder in (ours, theirs):
        last = json.loads((folder / "evals.jsonl").read_text().splitlines()[-1])
        print(f"{folder}: t1 {last['acc_t1']:.3f}, t2 {last['acc_t2']:.3f} of {last['n']}")


if __name__ == "__main__":
    main()
