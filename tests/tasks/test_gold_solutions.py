import json

import pytest

from score_ray.tasks.gold_solutions import grade_solutions, read_solutions
from score_ray.types import GradedEpisode, Problem, Verdict

PROBLEMS = [Problem(4, "1+1=", "2"), Problem(7, "2+2=", "4"), Problem(9, "3+3=", "6")]


class Exact:
    """A grader without processes, for which the whole text must be the answer."""

    def submit(self, episodes):
        self.episodes = list(episodes)

    def collect(self):
        verdicts = {True: Verdict.CORRECT, False: Verdict.WRONG}
        return [
            GradedEpisode.by_verdict(e, [verdicts[e.attempts[0].text == e.problem.answer]])
            for e in self.episodes
        ]


def test_verdicts_are_counted_and_problems_that_are_not_correct_are_listed():
    summary = grade_solutions(Exact(), PROBLEMS, ["2", "5", "6"])
    assert summary.counts == {Verdict.CORRECT: 2, Verdict.WRONG: 1}
    assert summary.failed == (PROBLEMS[1],)


def problem(source, row):
    return Problem(row, "q", "a", source=str(source), row=row)


def test_solutions_come_from_the_rows_of_the_problems(tmp_path):
    first, second = tmp_path / "1.jsonl", tmp_path / "2.csv"
    first.write_text(
        "".join(json.dumps({"solution": x}) + "\n" for x in ("2", 4)) + '{"solution": 0.00005}'
    )
    second.write_text("solution\n007\nN/A\n")
    problems = [problem(first, 2), problem(second, 0), problem(first, 1), problem(second, 1)]
    assert read_solutions("test", "solution", problems) == ["0.00005", "007", "4", "N/A"]
    with pytest.raises(ValueError, match=r"1\.jsonl: no column 'solutoin'.*did you mean solution"):
        read_solutions("test", "solutoin", problems)


def test_rows_without_a_solution_are_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "1"}\n{"a": NaN}\n{"a": null}\n{"a": " "}\n')
    with pytest.raises(
        ValueError, match=r"^3 of 4 rows cannot be used .*row 1: column 'a' is NaN; "
    ):
        read_solutions("test", "a", [problem(path, row) for row in range(4)])


def test_generated_problems_have_no_solutions():
    with pytest.raises(ValueError, match="generates its problems"):
        read_solutions("test", "solution", PROBLEMS)
