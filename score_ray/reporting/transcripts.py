"""Turns graded episodes into records, and records into text for people."""

from collections.abc import Sequence

from score_ray.reporting.json_lines import Record
from score_ray.reporting.metrics import evaluated_failures, failures_text
from score_ray.types import GradedEpisode, Problem


def transcript(graded: GradedEpisode, iteration: int) -> Record:
    """Return a record of generations.jsonl: an episode of an iteration, word for word."""
    episode = graded.episode
    feedback = {str(i): a.feedback for i, a in enumerate(episode.attempts, 1) if a.feedback}
    return {
        "iteration": iteration,
        "problem": episode.problem.index,
        "sample": episode.sample,
        **_place(episode.problem),
        "question": episode.problem.question,
        "answer": episode.problem.answer,
        "attempts": [attempt.text for attempt in episode.attempts],
        "verdicts": [verdict.value for verdict in graded.verdicts],
        "finish": [attempt.finish.value for attempt in episode.attempts],
        **({"feedback": feedback} if feedback else {}),
    }


def answer_record(graded: GradedEpisode) -> Record:
    """Return a record of answers/after_NNNNNN.jsonl: how an evaluated problem was answered."""
    episode = graded.episode
    return {
        "problem": episode.problem.index,
        "level": episode.problem.level,
        "sample": episode.sample,
        **_place(episode.problem),
        "question": episode.problem.question,
        "attempts": [attempt.text for attempt in episode.attempts],
        "verdicts": [verdict.value for verdict in graded.verdicts],
    }


def _place(problem: Problem) -> Record:
    """Return the data set and the row of a problem; nothing if it was generated."""
    return {"source": problem.source, "row": problem.row} if problem.source else {}


def generations_text(records: Sequence[Record]) -> str:
    """Return the text of generations.txt; records added at the end only append to it."""
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
    """Return the text of accuracies.txt: a line for each evaluation."""
    return "".join(
        f"{label_of(r)}  {r['task']}/{r['split']} n {r['n']} after {r['iteration']} updates:  "
        f"t1 {r['acc_t1']:.4f}  t2 {r['acc_t2']:.4f}  delta {r['delta']:+.4f}  "
        f"i->c {r['i_to_c']:.4f}  c->i {r['c_to_i']:.4f}"
        f"{_after_two_spaces(failures_text(evaluated_failures(r)))}\n"
        for r in evals
    )


def _after_two_spaces(text: str) -> str:
    return f"  {text}" if text else ""


def label_of(evaluation: Record) -> str:
    """Return the name of the weights that were evaluated."""
    return str(evaluation.get("label", f"iteration {evaluation['iteration']}"))
