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
    assert summary.failed == (7,)


def test_solutions_come_from_a_column_with_one_row_per_problem(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"solution": x}) + "\n" for x in ("2", "4", "6")))
    assert read_solutions(str(path), "test", "solution", PROBLEMS) == ["2", "4", "6"]
    with pytest.raises(ValueError, match=r"no column 'code'; it has \['solution'\]"):
        read_solutions(str(path), "test", "code", PROBLEMS)
    with pytest.raises(ValueError, match="3 rows for 2 problems of the test split"):
        read_solutions(str(path), "test", "solution", PROBLEMS[:2])
