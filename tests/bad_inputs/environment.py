"""Machines on which a run cannot work, and interruptions."""

from tests.bad_inputs.case import Case, nothing

KIND = "environment"
TRAIN = ("train", "run.yaml")
LONG = "t" * 80


def machine(name: str, says: str, shell: str, *overrides: str, **more) -> Case:
    """Return a case of training after some shell commands."""
    return Case(KIND, name, (*TRAIN, *overrides), says, nothing, shell=shell, **more)


def variables(name: str, says: str, *overrides: str, make=nothing, **more) -> Case:
    """Return a case of training with some variables of the environment."""
    return Case(KIND, name, (*TRAIN, *overrides), says, make, **more)


def works(name: str, environment: dict[str, str], shell: str = "") -> Case:
    """Return a case that the program copes with, so that the run is carried out."""
    return Case(
        KIND, name, TRAIN, "", codes=(0,), seconds=250, lines=40, left=("runs", "runs/*"),
        environment=environment, shell=shell, heavy=True,
    )  # fmt: skip


def file_of_runs(path) -> None:
    """Make a file where the folder of runs should be."""
    (path / "runs").write_text("mine")


def file_of_run(path) -> None:
    """Make a file where the run folder should be."""
    (path / "runs").mkdir()
    (path / "runs" / "run").write_text("mine")


def mount_point(path) -> None:
    """Make an empty folder to mount at."""
    (path / "runs").mkdir()


def stopped(name: str, seconds: float, **more) -> Case:
    """Return a case of Ctrl-C so many seconds after the start."""
    left = ("runs", "runs/*")  # a run that had begun keeps its folder
    return Case(
        KIND, f"Ctrl-C after {name}", TRAIN, "", codes=(130,), interrupt=seconds, left=left,
        lines=40, heavy=seconds > 1, **more,
    )  # fmt: skip


FOLDERS = [
    Case(KIND, "--runs names a file", TRAIN, r"runs/run: .*a file stands where a folder is needed", file_of_runs, lines=2),
    Case(KIND, "a file where the run folder should be", TRAIN, r"runs/run: .*a file stands where a folder is needed", file_of_run, lines=2),
    Case(KIND, "--runs below a file", (*TRAIN, "--runs", "train.jsonl/runs"), r"train\.jsonl/runs/run: .*a file stands where a folder is needed", lines=2),
    Case(KIND, "--runs read-only", TRAIN, r"runs/run: read-only file system", mount_point, lines=2, shell="mount -t tmpfs -o ro tmpfs runs", mounts=True),
    Case(KIND, "a full disk under --runs", TRAIN, r"runs/run: no space left on device", mount_point, shell="mount -t tmpfs -o size=64k tmpfs runs && head -c 65536 /dev/zero > runs/full; true", mounts=True, lines=2),
    Case(KIND, "a disk that a run fills", TRAIN, r"runs/run.*(?i:no space left|free)|(?i:no space left).*runs/run", mount_point, shell="mount -t tmpfs -o size=400k tmpfs runs", mounts=True, heavy=True, seconds=200, lines=30),
]  # fmt: skip
TEMPORARY = [
    variables("TMPDIR that is missing", r"TMPDIR=/no/such/folder: there is no such folder", environment={"TMPDIR": "/no/such/folder"}, seconds=120),
    machine("TMPDIR that is a file", r"TMPDIR=.*/file: there is no such folder", 'export TMPDIR="$PWD/file"; touch file', left=("file",), seconds=120),
    works("TMPDIR of 120 characters", {}, 'export TMPDIR="$TMPDIR/$(printf "%0110d" 0)"; mkdir -p "$TMPDIR"'),
    machine("TMPDIR read-only", r"TMPDIR=.*read-only", 'mount -t tmpfs -o ro tmpfs "$TMPDIR"', mounts=True),
]  # fmt: skip
LIMITS = [
    variables("more rollout actors than fit", r"rollout\.num_actors.*500", "rollout.num_actors=500", seconds=40, heavy=True),
    variables("more learner ranks than fit", r"learner\.num_ranks.*400", "learner.num_ranks=400", seconds=40, heavy=True),
    variables("a cache larger than the memory", r"9999\.5 GiB.*rollout\.kv_cache_gb", "rollout.kv_cache_gb=9999", seconds=60, heavy=True),
    machine("32 open files", r"open files.*ulimit -n", "ulimit -n 32", heavy=True, seconds=120),
]  # fmt: skip
RAY = [
    variables("a Ray address where nothing answers", r"RAY_ADDRESS.*127\.0\.0\.1:9", environment={"RAY_ADDRESS": "127.0.0.1:9"}, seconds=25),
    variables("a Ray address that is none", r"RAY_ADDRESS=::nonsense::", environment={"RAY_ADDRESS": "::nonsense::"}, seconds=25),
    variables("a Ray address with an unknown host", r"RAY_ADDRESS.*no-such-host", environment={"RAY_ADDRESS": "no-such-host.invalid:6379"}, seconds=25),
    variables("a Ray client's address where nothing answers", r"RAY_ADDRESS=ray://127\.0\.0\.1:9", environment={"RAY_ADDRESS": "ray://127.0.0.1:9"}, seconds=25),
]  # fmt: skip
NUMBERS = [
    variables("a learning rate that breaks the model", r"(?i)finite.*(?s:.*)learner\.learning_rate", "learner.learning_rate=1e30", "learner.max_grad_norm=1e30", heavy=True, seconds=200, lines=30, left=("runs", "runs/*")),
]  # fmt: skip
INTERRUPTIONS = [
    stopped("50 ms", 0.05), stopped("0.2 s", 0.2), stopped("0.5 s", 0.5), stopped("1 s", 1.0),
    stopped("2 s", 2.0), stopped("4 s", 4.0), stopped("8 s", 8.0), stopped("15 s", 15.0),
]  # fmt: skip
CASES = [*FOLDERS, *TEMPORARY, *LIMITS, *RAY, *NUMBERS, *INTERRUPTIONS]
