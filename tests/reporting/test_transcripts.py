from score_ray.reporting.transcripts import answer_record, transcript
from score_ray.types import GradedEpisode, Problem, Verdict
from tests.support.text_episodes import text_episode


def graded(problem):
    return GradedEpisode.by_verdict(text_episode(problem, "2"), [Verdict.CORRECT])


def test_records_say_in_which_row_of_which_data_set_a_problem_is():
    read = graded(Problem(7, "1+1?", "2", source="b.csv@train[5:]", row=3))
    for record in (transcript(read, 0), answer_record(read)):
        assert (record["problem"], record["source"], record["row"]) == (7, "b.csv@train[5:]", 3)


def test_records_of_generated_problems_have_no_row():
    for record in (
        transcript(graded(Problem(7, "1+1?", "2")), 0),
        answer_record(graded(Problem(7, "1+1?", "2"))),
    ):
        assert not {"source", "row"} & set(record)
