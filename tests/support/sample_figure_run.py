"""A small finished run folder, written by hand, for the tests of the figures."""

from pathlib import Path

from score_ray.config.loading import dump, load
from score_ray.reporting.json_lines import as_lines

LEVELS = ("0 carries", "1 carry", "2 carries")


def line(problem: int, texts: str, gold: str = "1", sample: int = 0, level: str = "") -> dict:
    """Return a problem's record, answered with the words of `texts`; `gold` is the right one."""
    attempts = texts.split()
    return {
        "problem": problem,
        "level": level,
        "sample": sample,
        "question": "q",
        "attempts": attempts,
        "verdicts": ["correct" if text == gold else "wrong" for text in attempts],
    }


def write(path: Path, records: list[dict]) -> None:
    """Write records as JSON lines, and the folders above the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_lines(records))


def evaluation(iteration: int, t1: float, t2: float, changed: float, split: str = "test") -> dict:
    """Return a record of evals.jsonl."""
    return {
        "iteration": iteration,
        "task": "arithmetic",
        "split": split,
        "acc_t1": t1,
        "acc_t2": t2,
        "changed": changed,
    }


def make_run(folder: Path, *overrides: str) -> Path:
    """Write a run of four updates on three problems, one per level, which improves attempt 2."""
    folder.mkdir(parents=True)
    config = load(Path("configs/arithmetic.yaml"), overrides)
    (folder / "config.yaml").write_text(dump(config))
    (folder / "model").mkdir()
    rates = {"train/acc_t1": 0.25, "train/acc_t2": 0.5, "train/changed": 0.5}
    metrics = [{"iteration": i, "stage": "stage_1", **rates} for i in range(4)]
    write(folder / "metrics.jsonl", metrics)
    evals = [evaluation(0, 1 / 3, 1 / 3, 1 / 3), evaluation(4, 1 / 3, 2 / 3, 2 / 3)]
    write(folder / "evals.jsonl", evals)
    base, model = ("1 1", "2 2", "1 2"), ("1 1", "2 1", "2 3")
    for updates, texts in ((0, base), (4, model)):
        lines = [line(i, text, level=LEVELS[i]) for i, text in enumerate(texts)]
        write(folder / f"answers/after_{updates:06d}.jsonl", lines)
    return folder


def add_extra_samples(folder: Path) -> None:
    """Add the samples of two problems that figures need: three attempts each, and four episodes."""
    for model in ("base", "model"):
        lines = [line(0, "2 1 1"), line(1, "2 2 1")]
        write(folder / f"study/attempts_{model}.jsonl", lines)
        lines = [line(i, "2 1", sample=s) for i in (0, 1) for s in range(4)]
        write(folder / f"study/samples_{model}.jsonl", lines)
