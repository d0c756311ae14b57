"""Run folders that a command cannot go on with."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bad_inputs.case import Case, Make
from tests.bad_inputs.inputs import appended, both, edited, file

KIND = "resume"
TRAIN = ("train", "run.yaml")
RUN = "runs/run"
# Holds the run folder's lock for as long as the process that comes after it in the shell lives.
HOLD = """
import os, sys, time
from pathlib import Path
from score_ray.reporting.run_folder import RunFolder
with RunFolder(Path("runs/run")).locked():
    print("locked", flush=True)
    while os.getppid() != 1 and os.path.exists(f"/proc/{sys.argv[1]}"):
        time.sleep(0.1)
"""
LOCKED = (
    f"{sys.executable} hold.py $$ > locked.txt 2> /dev/null & "
    "while ! grep -q locked locked.txt; do sleep 0.1; done"
)


def unfinished(folder: Path) -> None:
    """Write a run of two iterations that was cut off after the first, without starting one."""
    from score_ray.config.loading import dump, load
    from score_ray.training import checkpoint
    from tests.support.sample_run_folder import make_run

    run = folder / RUN
    make_run(run, 0, 1)
    (run / "config.yaml").write_text(dump(load(folder / "run.yaml")))
    for done in (0, 1):
        checkpoint.save(run / "checkpoints", checkpoint.Progress(done), _weights, keep=2)


def _weights(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"1" * 1000)


def finished(folder: Path) -> None:
    """Write a finished run, whose model is that of the folder."""
    unfinished(folder)
    shutil.copytree(folder / "model", folder / RUN / "model")


def trained(folder: Path) -> None:
    """Copy the run of two iterations that the program has trained on `math.yaml`."""
    shutil.copytree(folder.parent.parent / "trained" / "w" / "runs", folder / "runs")


def broken(name: str, change: Callable[[bytes], bytes]) -> Make:
    """Return what writes an unfinished run in which one file is changed."""
    return both(unfinished, edited(f"{RUN}/{name}", change))


def damaged(folder: Path) -> None:
    """Write an unfinished run whose checkpoints are all cut off."""
    unfinished(folder)
    for path in (folder / RUN).rglob("weights.bin"):
        path.write_bytes(b"1")


def shorter(folder: Path) -> None:
    """Leave a row of the train split out."""
    path = folder / "train.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")


def again(name: str, says: str, make: Make, *words: str, **more) -> Case:
    """Return a case of the same command on an existing run folder."""
    return Case(KIND, name, (*TRAIN, *words), says, make, **more)


def retrained(name: str, says: str, make: Make) -> Case:
    """Return a case of the same command on a run that the program has trained."""
    return Case(KIND, name, ("train", "math.yaml"), says, both(trained, make), trained=True)


CASES = [
    again("another seed", r"runs/run(?s:.*)seed: 0 -> 5", unfinished, "seed=5"),
    again("another coefficient of a stage", r"stages\.0\.kl", unfinished, "stages.0.kl=[0.1, 0.2]"),
    again("fewer iterations", r"stages\.0\.iterations", unfinished, "stages.0.iterations=1"),
    again("a line of metrics that is a list", r"metrics\.jsonl.*line 1", broken("metrics.jsonl", lambda old: b"[1, 2]\n" + old)),
    again("a line of metrics that is cut off", r"metrics\.jsonl.*line 1", broken("metrics.jsonl", lambda old: old[:99] + b"\n" + old)),
    again("a line of metrics that is no text", r"metrics\.jsonl.*line 1", broken("metrics.jsonl", lambda old: b"\xff\xfe\n" + old)),
    again("a line of events that is a number", r"events\.jsonl.*line 1", both(unfinished, file(f"{RUN}/events.jsonl", "7\n{}\n"))),
    again("only damaged checkpoints", r"no checkpoint can be read", damaged),
    again("a saved config that is cut off", r"runs/run/config\.yaml", broken("config.yaml", lambda old: old[:99] + b"\n [")),
    again("a saved config with an unknown key", r"runs/run/config\.yaml(?s:.*)speed", broken("config.yaml", lambda old: old + b"speed: 1\n")),
    again("a run folder in use", "another process", both(unfinished, file("hold.py", HOLD)), shell=LOCKED, left=("locked.txt", f"{RUN}/.lock", "runs/.*")),
    again("--fresh in a run folder in use", "another process", both(unfinished, file("hold.py", HOLD)), "--fresh", shell=LOCKED, left=("locked.txt", f"{RUN}/.lock", "runs/.*")),
    retrained("a row fewer in the train split", r"task\.train(?s:.*)rows?|train(?s:.*)rows?", shorter),
    retrained("another gold answer in the train split", r"train.*row 0|train(?s:.*)row", edited("train.jsonl", lambda old: old.replace(b'"21"', b'"22"'))),
    retrained("another test split", r"test(?s:.*)row", appended('{"question": "1+2=", "answer": "3"}', name="test.jsonl")),
    retrained("another base model", r"model\.path|model", edited("model/model.safetensors", lambda old: old[:-4] + b"\0\0\0\1")),
]  # fmt: skip
