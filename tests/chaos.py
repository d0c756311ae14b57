"""A run whose processes are killed at random moments, on a real Ray cluster of several nodes.

To run it by hand, with any number of kills (each takes half a minute on 2 cores):

    python -m tests.chaos --kills 0 --iterations 480 --folder /tmp/undisturbed
    python -m tests.chaos --kills 24 --folder /tmp/chaos --compare /tmp/undisturbed

It prints every kill, and the seconds until the run was further than before it. It fails unless
every planned iteration happened exactly once with all planned episodes, and engines and learner
agreed after every broadcast. With an undisturbed run to compare, it prints in how many
iterations both sampled the same. test_survival.py is a short version.
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
    """The kind of process that was killed, when, and the seconds until the run was further."""

    kind: str
    iteration: int
    seconds: float


class Chaos:
    """A cluster of a head and a worker node with a run on it, whose processes are killed."""

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
        """Kill a process of each of these kinds in order, at random moments of the run."""
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
        """Wait for the end of the run; raise CalledProcessError if it failed."""
        code = self._driver.wait(3600)
        if code:
            raise subprocess.CalledProcessError(code, self._command)

    def iterations(self) -> int:
        """Return the number of finished iterations."""
        return len(metrics(self._runs / "arithmetic"))

    def close(self) -> None:
        """End the run and the cluster."""
        self._driver.kill()
        self._driver.wait()
        self._cluster.shutdown()
        self._log.close()

    def _drive(self) -> subprocess.Popen:
        root = str(Path(__file__).parents[1])
        env = os.environ | {"RAY_ADDRESS": self._cluster.address, "PYTHONPATH": root}
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
        """Wait until so many iterations are finished; return how many are by then."""
        end = time.monotonic() + GIVE_UP
        while (done := self.iterations()) < iterations:
            if self._driver.poll() not in (None, 0) or time.monotonic() > end:
                raise RuntimeError(f"the run stopped after {done} iterations; see {self._log.name}")
            time.sleep(0.1)
        return done


def named(title: str) -> list[psutil.Process]:
    """Return the descendants of this process whose command line begins with the title."""
    matching = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "".join(process.cmdline()).startswith(title):
                matching.append(process)
        except psutil.NoSuchProcess:
            continue
    return matching


def metrics(folder: Path) -> list[dict]:
    """Return the records of metrics.jsonl, without a last line that is still being written."""
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def check(folder: Path, iterations: int) -> None:
    """Assert that all iterations and episodes are there once, and that weights always agreed."""
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
    """Return those of a run with two rollout actors and two ZeRO-2 ranks, half of it per stage."""
    first = iterations // 2
    return [
        f"rollout.problems={PROBLEMS}", f"rollout.samples={SAMPLES}", "rollout.num_actors=2",
        "learner.num_ranks=2", "learner.zero_stage=2", "checkpoint.every=2",
        "evaluation.problems=200", f"stages.0.iterations={first}",
        f"stages.1.iterations={iterations - first}", *more,
    ]  # fmt: skip


def main() -> None:
    """Run the long version, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--iterations", type=int, default=0)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    iterations = options.iterations or options.kills * ITERATIONS_PER_KILL
    kinds = [KINDS[number % len(KINDS)] for number in range(options.kills)]
    random.Random(options.seed).shuffle(kinds)
    chaos = Chaos(options.folder, overrides(iterations), options.seed)
    try:
        kills = chaos.play(kinds)
        chaos.finish()
    finally:
        chaos.close()
    check(options.folder / "arithmetic", iterations)
    print("killed          times  seconds until further: mean  most")
    for kind in KINDS:
        seconds = [kill.seconds for kill in kills if kill.kind == kind]
        if seconds:
            print(f"{kind:15} {len(seconds):5}  {fmean(seconds):27.1f} {max(seconds):5.1f}")
    if options.compare:
        compare(options.folder / "arithmetic", options.compare / "arithmetic")


def compare(ours: Path, theirs: Path) -> None:
    """Print in how many iterations two runs of the same config sampled the same."""
    names = [f"train/{name}" for name in ("acc_t1", "acc_t2", "i_to_c", "c_to_i")]
    pairs = list(zip(metrics(ours), metrics(theirs), strict=True))
    same = [all(a[name] == b[name] for name in names) for a, b in pairs]
    first = same.index(False) if False in same else len(same)
    print(f"the same in {sum(same)} of {len(same)} iterations, in all of the first {first}")
    for folder in (ours, theirs):
        last = json.loads((folder / "evals.jsonl").read_text().splitlines()[-1])
        print(f"{folder}: t1 {last['acc_t1']:.3f}, t2 {last['acc_t2']:.3f} of {last['n']}")


if __name__ == "__main__":
    main()
