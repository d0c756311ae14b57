"""The run folder's records: JSON lines, and the text files derived from them.

The .jsonl files are the truth: generations.txt, accuracies.txt, accuracy.png and report.html
can be made from them again at any time.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from score_ray.types import GradedEpisode

Record = dict[str, Any]


def read_jsonl(path: Path) -> list[Record]:
    """The records of a file, without a last line that a kill left half-written; [] if absent.

    Raises ValueError, naming file and line, for damage anywhere else.
    """
    if not path.exists():
        return []
    # Split as bytes: a torn line may end inside a character.
    *whole, last = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(whole, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not a JSON record") from error
    try:
        return [*records, json.loads(last)]
    except ValueError:
        return records


def rewind(folder: Path, resume_at: int) -> None:
    """Bring a run folder back to where `resume_at` updates have been made; events stay.

    An evaluation with iteration k is taken after k updates, before the checkpoint of k, so a
    run that resumes at k has it already; only a run from 0 takes its first one (again).
    """
    keep: dict[str, Callable[[Record], bool]] = {
        "metrics": lambda r: r["iteration"] < resume_at,
        "generations": lambda r: r["iteration"] < resume_at,
        "evals": lambda r: r["iteration"] <= resume_at and resume_at > 0,
    }
    kept = {}
    for name, wanted in keep.items():
        path = folder / f"{name}.jsonl"
        kept[name] = [record for record in read_jsonl(path) if wanted(record)]
        replace_file(path, as_lines(kept[name]).encode())
    if (events := folder / "events.jsonl").exists():
        # Without a line that a kill tore: the next event must not go on in it.
        replace_file(events, as_lines(read_jsonl(events)).encode())
    text = generations_text(kept["generations"])
    replace_file(folder / "generations.txt", text.encode(errors="replace"))
    text = accuracies_text(kept["evals"])
    replace_file(folder / "accuracies.txt", text.encode(errors="replace"))


def as_lines(records: Iterable[Record]) -> str:
    """Records as JSON lines; a NumPy number is written as a float."""
    return "".join(json.dumps(record, default=float) + "\n" for record in records)


def append_lines(path: Path, records: Iterable[Record]) -> None:
    """Append records to a .jsonl file; they are with the operating system on return."""
    append_text(path, as_lines(records))


def append_text(path: Path, text: str) -> None:
    """Append text to a file."""
    with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(text)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader, or a kill, meets the old one or the new one."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def transcript(graded: GradedEpisode, iteration: int) -> Record:
    """A line of generations.jsonl."""
    episode = graded.episode
    feedback = {str(i): a.feedback for i, a in enumerate(episode.attempts, 1) if a.feedback}
    return {
        "iteration": iteration,
        "problem": episode.problem.index,
        "sample": episode.sample,
        "question": episode.problem.question,
        "answer": episode.problem.answer,
        "attempts": [attempt.text for attempt in episode.attempts],
        "verdicts": [verdict.value for verdict in graded.verdicts],
        "finish": [attempt.finish.value for attempt in episode.attempts],
        **({"feedback": feedback} if feedback else {}),
    }


def answer_record(graded: GradedEpisode) -> Record:
    """A line of answers/after_NNNNNN.jsonl: how an evaluated problem was answered."""
    episode = graded.episode
    return {
        "problem": episode.problem.index,
        "level": episode.problem.level,
        "sample": episode.sample,
        "question": episode.problem.question,
        "attempts": [attempt.text for attempt in episode.attempts],
        "verdicts": [verdict.value for verdict in graded.verdicts],
    }


def generations_text(records: Sequence[Record]) -> str:
    """generations.txt of these records; that of a longer list starts with it."""
    parts = []
    for r in records:
        head = f"iteration {r['iteration']}  problem {r['problem']}  sample {r['sample']}"
        parts.append(f"===== {head} =====\nQuestion: {r['question']}\nGold answer: {r['answer']}\n")
        rows = zip(r["attempts"], r["verdicts"], r["finish"], strict=True)
        for number, (text, verdict, finish) in enumerate(rows, 1):
            if feedback := r.get("feedback", {}).get(str(number)):
                parts.append(f"----- feedback -----\n{feedback}\n")
            parts.append(f"----- attempt {number}: {verdict} (finish: {finish}) -----\n{text}\n")
        parts.append("\n")
    return "".join(parts)


def accuracies_text(evals: Sequence[Record]) -> str:
    """accuracies.txt of these evaluations, a line each; that of a longer list starts with it."""
    return "".join(
        f"{label_of(r)}  {r['task']}/{r['split']} n {r['n']} after {r['iteration']} updates:  "
        f"t1 {r['acc_t1']:.4f}  t2 {r['acc_t2']:.4f}  delta {r['delta']:+.4f}  "
        f"i->c {r['i_to_c']:.4f}  c->i {r['c_to_i']:.4f}\n"
        for r in evals
    )


def label_of(record: Record) -> str:
    """What an evaluation's weights are called."""
    return str(record.get("label", f"iteration {record['iteration']}"))
